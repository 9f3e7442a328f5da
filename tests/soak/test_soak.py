"""The soak test runs, and its ledger finds what it looks for."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.soak.ledger import Ledger
from tests.system.wire import Answer, one_call, one_device_event


def exported(event, dialect="moesif"):
    return json.dumps({"dialect": dialect, "data": event})


def heard(ledger, request, status=201):
    ledger.sent(request)
    ledger.heard(request, Answer(status, {}, b""), 0.1)
    return next(iter(request.events.items()))


def test_what_is_acknowledged_and_not_stored_is_lost():
    ledger = Ledger()
    name, _ = heard(ledger, one_call())
    heard(ledger, one_call(), 503)

    verdict = ledger.judge([])
    assert (2, 1, [name]) == (verdict.sent, verdict.acknowledged, verdict.lost)


def test_what_is_stored_twice_is_doubled_and_what_nobody_sent_is_altered():
    ledger = Ledger()
    name, event = heard(ledger, one_call())
    other, changed = heard(ledger, one_device_event())
    unknown = "event-999999"
    lines = [
        *[exported(event)] * 2,
        exported({**changed, "severity": 1}, "device"),
        exported({**event, "metadata": {"name": unknown}}),
    ]

    verdict = ledger.judge(lines)
    assert ([], [name], [other, unknown]) == (verdict.lost, verdict.doubled, verdict.altered)


def test_an_answer_that_no_client_expects_is_reported():
    ledger = Ledger()
    heard(ledger, one_call(), 500)

    assert 1 == len(ledger.unexpected)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_soak_test_loses_and_doubles_nothing():
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr
    for line in ("lost      0", "doubled   0", "altered   0"):
        assert line in done.stdout.splitlines()
