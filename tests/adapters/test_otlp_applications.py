"""Whose exporters may report: applications of [otlp], and those of [moesif] with the same ids."""

import pytest

from gateway.checks import dialects
from gateway.config import find_doubts, resolve
from schemas.otlp import Shared
from tests.adapters.direct import Direct, DirectOtlp
from tests.adapters.otlp import JSON, LOG, LOGS, PROTOBUF, encoded, logs
from tests.conftest import APPLICATION_ID, CONFIG, merged

OTHER = "other-" + "0123456789" * 5


async def posted(gateway, identity=APPLICATION_ID, media_type=JSON):
    headers = {"X-Moesif-Application-Id": identity, "Content-Type": media_type}
    return await gateway.send("POST", LOGS, encoded(LOGS, logs(LOG), media_type), headers)


@pytest.mark.parametrize("media_type", [JSON, PROTOBUF])
async def test_an_application_of_moesif_reports_with_the_same_id_and_its_rules_of_masking(
    running, media_type
):
    application = {"tenant": "shop", "ids": [OTHER], "redact": {"keys": ["body"]}}
    changes = {"moesif": {"applications": [application]}, "otlp": {"applications": []}}
    async with running(changes) as gateway:
        answer = await posted(gateway, OTHER, media_type)
        [event] = await gateway.events(dialect="otlp")

    assert 200 == answer.status
    assert ("shop", "log") == (event["tenant"], event["kind"])
    assert "[redacted]" == event["data"]["logRecord"]["body"]


async def test_the_applications_of_moesif_may_be_kept_out(running):
    async with running({"otlp": {"applications": [], "moesif_applications": False}}) as gateway:
        assert 401 == (await posted(gateway)).status


def test_a_table_of_the_same_tenant_counts_in_place_of_that_of_moesif():
    otlp = DirectOtlp(applications=[{"tenant": "acme", "ids": [OTHER]}])

    assert 401 == otlp.post(LOGS, logs(LOG)).status
    assert 200 == otlp.post(LOGS, logs(LOG), **{"X-Moesif-Application-Id": OTHER}).status


def test_an_id_in_both_tables_belongs_to_whom_otlp_gives_it():
    otlp = DirectOtlp(applications=[{"tenant": "shop", "ids": [APPLICATION_ID]}])
    otlp.post(LOGS, logs(LOG))

    assert ["shop"] == [record.tenant for record in otlp.records]


def test_what_is_written_in_the_table_of_moesif_is_told_of_once():
    changes = {
        "moesif": {"applications": [{"tenant": "acme", "ids": ["short"]}]},
        "otlp": {"applications": []},
    }
    settings = resolve(merged(CONFIG, changes), dialects())
    told = [problem.path for problem in find_doubts(settings)]

    assert isinstance(settings.dialects["otlp"].applications[0], Shared)
    assert ["moesif.applications[0].ids[0]"] == [path for path in told if "ids" in path]


def test_a_gateway_without_the_dialect_of_moesif_shares_nothing():
    assert [] == list(
        Direct("otlp", applications=[], moesif_applications=False).adapter.credentials()
    )
    only = {"otlp": dialects()["otlp"]}

    assert () == resolve({}, only).dialects["otlp"].applications
