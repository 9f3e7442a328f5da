"""A dialect is added without a change of another module, as the small test dialect shows.

The tests in tests/adapters/test_contract.py run for it as well.
"""

import json
from typing import Any

import pytest

from gateway.adapter import Head
from gateway.checks import dialects, validate
from gateway.config import resolve
from gateway.errors import ConfigError, Reason, Refusal
from tests.conftest import CONFIG, merged
from tests.dialects import EVERY, config_of
from tests.records import locked
from tests.tiny import Options, TinyAdapter

HOME = config_of([TinyAdapter])
PASS = {"X-Pass": "open sesame"}
READING = {"meter": "water", "number": 1, "value": 5}


@pytest.fixture
async def four(running):
    async with running(adapters=EVERY) as gateway:
        yield gateway


async def test_a_duplicate_is_answered_in_the_words_of_the_dialect(four):
    assert 200 == (await four.send("POST", "/tiny/cellar", READING, PASS)).status
    again = await four.send("POST", "/tiny/cellar", READING, PASS)

    assert [208, "1"] == [again.status, again.headers["Gateway-Duplicate"]]
    assert 1 == len(await four.events())


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "reason"),
    [
        ("POST", "/tiny/cellar", READING, {}, 401, "credential_missing"),
        ("POST", "/tiny/cellar", READING, {"X-Pass": "x"}, 401, "credential_unknown"),
        ("GET", "/tiny/cellar", READING, PASS, 405, "method_not_allowed"),
        ("POST", "/tiny/a/b", READING, PASS, 404, "no_such_address"),
        ("POST", "/tiny/cellar", b"x" * 1001, PASS, 413, "body_too_large"),
        ("POST", "/tiny/cellar", b"{", PASS, 400, "not_json"),
        ("POST", "/tiny/cellar", {}, PASS, 400, "invalid"),
        (
            "POST",
            "/tiny/cellar",
            b"",
            {**PASS, "Content-Encoding": "x"},
            415,
            "encoding_unsupported",
        ),
    ],
)
async def test_its_refusals_are_in_its_own_words(four, method, path, body, headers, status, reason):
    answer = await four.send(method, path, body, headers)

    assert [status, reason] == [answer.status, answer.json["no"]]
    tenant = "" if status == 401 else "home"
    labels = f'dialect="tiny",reason="{reason}",tenant="{tenant}"'
    assert 1 == await four.metric(f"gateway_refused_total{{{labels}}}")


async def test_its_invalid_events_are_quarantined(four):
    answer = await four.send("POST", "/tiny/cellar", {"meter": "", "number": 1}, PASS)
    [kept] = await four.events(kind="rejected")

    assert ["meter", "value"] == answer.json["why"]
    assert ["tiny", "home"] == [kept["dialect"], kept["tenant"]]
    assert {"meter": "", "number": 1} == json.loads(kept["data"]["raw"])


async def test_its_events_are_spooled_while_the_store_is_unavailable(four, tmp_path):
    with locked(tmp_path / "events.db"):
        answer = await four.send("POST", "/tiny/cellar", READING, PASS)
        assert [200, "1"] == [answer.status, answer.headers["Gateway-Queued"]]
        assert 208 == (await four.send("POST", "/tiny/cellar", READING, PASS)).status


async def test_its_tenants_have_masking_rules(running):
    houses = [{**HOME["tiny"]["houses"][0], "redact": {"keys": ["value"]}}]
    async with running({"tiny": {"houses": houses}}, adapters=EVERY) as gateway:
        await gateway.send("POST", "/tiny/cellar", READING, PASS)
        [event] = await gateway.events()

    assert {**READING, "value": "[redacted]"} == event["data"]


@pytest.mark.parametrize("names", [["value", "meter"], ["value", ""], ["", "value"]])
async def test_a_tenant_with_two_tables_has_the_masking_rules_of_both(running, names):
    houses = [
        {"tenant": "home", "passes": [one], "redact": {"keys": [name] if name else []}}
        for one, name in zip(["open sesame", "other"], names, strict=True)
    ]
    async with running({"tiny": {"houses": houses}}, adapters=EVERY) as gateway:
        for secret in ("open sesame", "other"):
            await gateway.send(
                "POST", "/tiny/cellar", {**READING, "number": len(secret)}, {"X-Pass": secret}
            )
        events = await gateway.events()

    assert [set(names) - {""}] * 2 == [
        {name for name, value in event["data"].items() if value == "[redacted]"} for event in events
    ]


async def test_the_other_dialects_are_unchanged(four):
    event = {"id": "1", "system": "s", "agent-id": "a", "timestamp": "2026-01-01T00:00:00Z"}

    assert 202 == (await four.logspace([event])).status
    assert 404 == (await four.send("POST", "/nowhere", b"", PASS)).status


def faults(changes: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        validate(resolve(merged(merged(CONFIG, HOME), changes), dialects(EVERY)), "c.toml", EVERY)
    return {problem.path: problem.message for problem in error.value.problems}


def test_its_options_are_checked_like_all_others():
    house = {"tenant": "home", "pass": ["x"]}

    assert {"tiny.max_body": "Unknown option; did you mean 'max_body'?"} == {
        "tiny.max_body": faults({"tiny": {"max_boby": 1}})["tiny.max_boby"]
    }
    assert ["tiny.houses[0].passes", "tiny.houses[0].pass"] == list(
        faults({"tiny": {"houses": [house]}})
    )
    twice = [{"tenant": name, "passes": ["same"]} for name in "ab"]
    assert "to 'a' and to 'b'" in faults({"tiny": {"houses": twice}})["tiny"]


def test_the_table_of_an_unregistered_dialect_is_unknown():
    with pytest.raises(ConfigError, match="tiny: Unknown option"):
        resolve(merged(CONFIG, HOME), dialects())


class Elsewhere(TinyAdapter):
    """Speaks a dialect whose address is one of the tiny dialect too."""

    dialect = "elsewhere"
    prefixes = ("/elsewhere/",)


def test_an_address_of_two_dialects_is_a_problem_of_the_configuration():
    both = (*EVERY, Elsewhere)
    with pytest.raises(ConfigError, match=r"'tiny' and /tiny/{meter} of 'elsewhere' overlap"):
        validate(resolve(merged(CONFIG, HOME), dialects(both)), "c.toml", both)


@pytest.mark.parametrize("reason", Reason)
def test_it_answers_every_reason(reason):
    adapter = TinyAdapter(resolve(merged(CONFIG, HOME), dialects(EVERY)).dialect("tiny", Options))
    head = Head("POST", "/tiny/x", {}, lambda name: None, lambda name: ())

    assert reason.value == json.loads(adapter.refused(Refusal(reason), head, None).body)["no"]
