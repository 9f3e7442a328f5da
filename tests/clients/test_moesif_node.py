"""The `moesifapi` package for Node, from npm, against the real process."""

import pytest

from tests.clients import documents
from tests.clients.documents import instant, told
from tests.conftest import Process

CALLS = [
    ("createEvent", "api_call", documents.EVENT),
    ("createEvent", "api_call", documents.BASE64),
    ("createEventsBatch", "api_call", [documents.EVENT, documents.BASE64, documents.BARE]),
    ("sendAction", "action", documents.ACTION),
    ("sendActionsBatch", "action", [documents.ACTION, documents.SECOND_ACTION]),
    ("updateUser", "user", documents.USER),
    ("updateUsersBatch", "user", [documents.USER, documents.SECOND_USER]),
    ("updateCompany", "company", documents.COMPANY),
    ("updateCompaniesBatch", "company", [documents.COMPANY, documents.SECOND_COMPANY]),
    ("updateSubscription", "subscription", documents.SUBSCRIPTION),
    (
        "updateSubscriptionsBatch",
        "subscription",
        [documents.SUBSCRIPTION, documents.SECOND_SUBSCRIPTION],
    ),
]


@pytest.mark.parametrize(("method", "kind", "sent"), CALLS)
def test_events_given_to_the_sdk_are_stored(process: Process, node, method, kind, sent):
    process.start()
    answer = node("moesifapi_client.js").ask([method, sent])

    records = process.export()
    batch = sent if isinstance(sent, list) else [sent]
    assert 201 == answer["status"]
    assert [told(one) for one in batch] == [told(record["data"]) for record in records]
    assert [kind] * len(batch) == [record["kind"] for record in records]
    assert {("moesif", "acme")} == {(record["dialect"], record["tenant"]) for record in records}


def test_an_action_is_typed_by_its_name(process: Process, node):
    process.start()
    node("moesifapi_client.js").ask(["sendAction", documents.ACTION])

    (record,) = process.export()
    assert (documents.ACTION["action_name"], "user-7") == (record["type"], record["subject"])
    assert instant("2026-01-02T03:04:08.123Z") == instant(record["time"])


def test_an_action_sent_twice_with_one_transaction_id_is_stored_once(process: Process, node):
    process.start()
    client = node("moesifapi_client.js")
    client.ask(["sendAction", documents.ACTION])
    client.ask(["sendActionsBatch", [documents.ACTION, documents.SECOND_ACTION]])

    names = [documents.ACTION["action_name"], documents.SECOND_ACTION["action_name"]]
    assert names == [record["type"] for record in process.export()]


def test_the_sdk_fetches_its_configuration_its_rules_and_the_health_probe(process: Process, node):
    process.start()
    client = node("moesifapi_client.js")
    config = client.ask(["getAppConfig", None])
    rules = client.ask(["getRules", None])

    assert (200, 100) == (config["status"], config["body"]["sample_rate"])
    assert (200, []) == (rules["status"], rules["body"])
    assert client.ask(["getHealthProbe", None])["body"]["status"] is True
    sent = client.ask(["createEvent", documents.BARE])
    for tag in ("x-moesif-config-etag", "x-moesif-rules-tag"):
        assert 1 == len({answer["headers"][tag] for answer in (config, rules, sent)})


def test_an_unknown_application_id_raises_an_error_in_the_sdk(process: Process, node):
    process.start()
    process.config.write_text(process.config.read_text().replace("acme-", "umbrella-"))
    process.stop()
    process.start()
    answer = node("moesifapi_client.js").ask(["createEvent", documents.BARE])

    assert "401" in answer["error"]["errorMessage"]
    assert [] == process.export()
