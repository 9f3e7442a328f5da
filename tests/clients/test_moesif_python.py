"""The `moesifapi` package for Python, from PyPI, against the real process."""

import pytest

from tests.clients import documents
from tests.clients.conftest import locked, requests, stored
from tests.clients.documents import instant, told, without
from tests.conftest import Process

CALLS = [
    ("create_event", "api_call", documents.EVENT),
    ("create_event", "api_call", documents.BASE64),
    ("create_events_batch", "api_call", [documents.EVENT, documents.BASE64, documents.BARE]),
    ("update_user", "user", documents.USER),
    ("update_users_batch", "user", [documents.USER, documents.SECOND_USER]),
    ("update_company", "company", documents.COMPANY),
    ("update_companies_batch", "company", [documents.COMPANY, documents.SECOND_COMPANY]),
    ("update_subscription", "subscription", documents.SUBSCRIPTION),
    (
        "update_subscriptions_batch",
        "subscription",
        [documents.SUBSCRIPTION, documents.SECOND_SUBSCRIPTION],
    ),
]


@pytest.mark.parametrize(("method", "kind", "sent"), CALLS)
def test_events_given_to_the_sdk_are_stored(process: Process, python, method, kind, sent):
    process.start()
    python("moesifapi_client.py").ask([method, sent])

    records = process.export()
    batch = sent if isinstance(sent, list) else [sent]
    # The SDK itself gives every event a transaction_id.
    assert [told(one) for one in batch] == [
        without(told(record["data"]), "transaction_id") for record in records
    ]
    assert [kind] * len(batch) == [record["kind"] for record in records]
    assert {("moesif", "acme")} == {(record["dialect"], record["tenant"]) for record in records}


def test_the_record_of_an_event_has_its_verb_its_user_and_its_time(process: Process, python):
    process.start()
    python("moesifapi_client.py").ask(["create_event", documents.EVENT])

    (record,) = process.export()
    assert ("PATCH", "user-7") == (record["type"], record["subject"])
    assert instant(documents.EVENT["request"]["time"]) == instant(record["time"])


def test_an_event_sent_twice_with_one_transaction_id_is_stored_once(process: Process, python):
    process.start()
    client = python("moesifapi_client.py")
    event = documents.EVENT | {"transaction_id": "A3765025-46ec-45dd-bc83-b136c8d1d257"}
    client.ask(["create_event", event])
    client.ask(["create_events_batch", [documents.BARE, event]])

    records = process.export()
    assert ["PATCH", "GET"] == [record["type"] for record in records]
    assert event["transaction_id"] == records[0]["data"]["transaction_id"]


def test_the_sdk_fetches_its_configuration_its_rules_and_the_health_probe(process: Process, python):
    process.start()
    client = python("moesifapi_client.py")
    config = client.ask(["get_app_config", None])
    rules = client.ask(["get_governance_rules", None])

    assert 100 == config["body"]["sample_rate"]
    assert [] == rules["body"]
    assert {"status": True} == without(client.ask(["get_health_probe", None]), "region")
    tags = ("x-moesif-config-etag", "x-moesif-rules-tag")
    told_by = [client.ask(["create_event", documents.BARE]), config["headers"], rules["headers"]]
    lowered = [{name.lower(): value for name, value in one.items()} for one in told_by]
    assert 1 == len({tuple(one[tag] for tag in tags) for one in lowered})


def test_compressed_events_get_201(process: Process, python):
    process.start()
    python("moesifapi_client.py").ask(["create_events_batch", [documents.EVENT] * 300])

    assert 300 == len(stored(process, 300))
    assert [201] == [line["status"] for line in requests(process, "POST", "/v1/events/batch")]


def test_events_sent_while_the_store_is_locked_are_accepted_and_stored_later(
    process: Process, python
):
    process.start()
    client = python("moesifapi_client.py")
    client.ask(["create_event", documents.BARE])
    with locked(process):
        client.ask(["create_event", documents.EVENT])
        client.ask(["create_events_batch", [documents.EVENT, documents.BASE64]])
        assert 1 == len(process.export())

    sent = [documents.BARE, documents.EVENT, documents.EVENT, documents.BASE64]
    kept = [without(told(record["data"]), "transaction_id") for record in stored(process, 4)]
    assert list(map(told, sent)) == kept
