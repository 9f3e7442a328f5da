"""The commands that look at what came in: events, tail, stats and status."""

import json
import os
import pty
import re
import subprocess
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest

from gateway.cli.moments import moment
from gateway.record import clock
from gateway.store import Count
from gateway.stores.sqlite import open_store
from schemas.times import microseconds
from tests.conftest import APPLICATION_ID, PROCESS_CONFIG, ROOT, command
from tests.forking import start
from tests.records import closing, make_record, make_rejected

DAY = 86_400_000_000
HOUR = 3_600_000_000


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """A folder with a good config.toml and a store of events of three days."""
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    now = clock()
    records = [
        make_record(received_at=now - 2 * DAY, subject="ann", data='{"n": 1}'),
        make_record(received_at=now - DAY, tenant="other", type="POST", data='{"n": 2}'),
        make_rejected("x", received_at=now - HOUR, data='{"n": 3}'),
        make_record(received_at=now - 60_000_000, subject="ann", data='{"n": 4}'),
    ]
    counts = [
        Count(now - 2 * DAY, "moesif", "acme", "api_call", "stored", 5),
        Count(now - 60_000_000, "moesif", "acme", "api_call", "stored", 2),
        Count(now - 60_000_000, "moesif", "acme", "api_call", "queued", 1),
        Count(now - 60_000_000, "moesif", "acme", "api_call", "drained", 1),
        Count(now - 2 * HOUR, "moesif", "acme", "api_call", "duplicate", 7),
        Count(now - 2 * HOUR, "moesif", "acme", "rejected", "rejected", 1),
        Count(now - 60_000_000, "moesif", "acme", "", "invalid", 3),
    ]
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        await store.append(records)
        await store.add_counts(counts)
    return tmp_path


def numbers(folder: Path, *options: str) -> list[int]:
    """The events that ``gateway events`` writes with *options*, by their number."""
    done = command("events", "-c", "config.toml", *options, cwd=folder)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line)["data"]["n"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [4, 2, 1]),
        (["--last", "1"], [4]),
        (["--tenant", "other"], [2]),
        (["--type", "POST"], [2]),
        (["--subject", "ann"], [4, 1]),
        (["--kind", "rejected"], [3]),
        (["--since", "2h"], [4]),
        (["--until", "36h"], [1]),
        (["--grep", '"n": 2'], [2]),
        (["--before", "4"], [2, 1]),
    ],
)
def test_events_writes_the_newest_that_fit(filled, options, expected):
    assert expected == numbers(filled, *options)


@pytest.mark.parametrize(
    ("option", "there"), [("--tenant", "acme, other"), ("--kind", "api_call, rejected")]
)
def test_a_name_that_is_not_stored_is_told_with_those_that_are(filled, option, there):
    done = command("events", "-c", "config.toml", option, "acmee", cwd=filled)

    assert 2 == done.exit_code
    assert f"no events of 'acmee'. There are: {there}." in done.stderr


def test_a_time_that_cannot_be_read_is_told_with_what_can(filled):
    done = command("events", "-c", "config.toml", "--since", "yesterday", cwd=filled)

    assert 2 == done.exit_code
    for form in ("15m", "14:30 today", "2026-05-04T14:30:00Z"):
        assert form in done.stderr


def test_without_an_event_that_fits_that_is_said(filled):
    done = command("events", "-c", "config.toml", "--grep", "nowhere", cwd=filled)

    assert [0, "", "No such events.\n"] == [done.exit_code, done.stdout, done.stderr]


def test_a_search_that_takes_too_long_says_how_to_go_on(filled, monkeypatch):
    monkeypatch.setattr("gateway.stores.search.BLOCK", 1)
    monkeypatch.setattr("gateway.stores.search._AT_ONCE", 1)
    done = command(
        "events", "-c", "config.toml", "--grep", "nowhere", "--seconds", "0.000001", cwd=filled
    )

    assert "go on with --before 4, or look longer with --seconds." in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259_200), ("1w", 604_800)]
)
def test_a_time_may_be_so_long_ago(text, seconds):
    assert abs(clock() - seconds * 1_000_000 - moment(text)) < 5_000_000


def test_a_time_with_a_space_or_of_today_is_in_the_local_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    try:
        assert microseconds("2026-05-04T12:30:00Z") == moment("2026-05-04 14:30")
        today = f"{datetime.now():%Y-%m-%d}"
        assert moment(f"{today} 09:05") == moment("9:05") == moment("09:05:00")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert microseconds("2026-05-04T00:00:00Z") == moment("2026-05-04")
    assert microseconds("2026-05-04T14:30:00+02:00") == moment("2026-05-04T14:30:00+02:00")


def test_stats_adds_up_what_came_in_by_tenant_and_kind(filled):
    done = command("stats", "-c", "config.toml", "--dialect", "moesif", cwd=filled)

    rows = {row["kind"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {"hour": 3, "day": 3, "ever": 8} == rows["api_call"]["events"]
    assert {"hour": 0, "day": 7, "ever": 7} == rows["api_call"]["duplicates"]
    assert {"hour": 0, "day": 1, "ever": 1} == rows["rejected"]["rejected"]
    assert {"invalid": {"hour": 3, "day": 3, "ever": 3}} == rows[""]["refused"]
    assert abs(clock() - microseconds(rows["api_call"]["last_received"])) < 120_000_000
    assert rows[""]["last_received"] is None


def on_terminal(folder: Path, *arguments: str) -> str:
    """What a command shows on a terminal of 100 columns."""
    here, there = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm"}
    with os.fdopen(there, "wb") as terminal:
        process = start(
            ["-m", "gateway", *arguments],
            cwd=folder,
            stdout=terminal,
            stderr=terminal,
            env=environment,
        )
    shown = b""
    while True:
        try:
            shown += os.read(here, 65536)
        except OSError:
            break
    assert 0 == process.wait(30)
    os.close(here)
    # Colours and weights are what the command itself writes.
    return re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).replace("\r\n", "\n")


async def test_on_a_terminal_events_are_rows_that_cannot_play_tricks(tmp_path):
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    wicked = make_record(subject="\x1b]0;title\x07[bold]x", data='{"\x1b[2J":1}')
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        await store.append([wicked])

    shown = on_terminal(tmp_path, "events", "-c", "config.toml")

    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    assert "[bold]x" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_on_a_terminal_stats_are_a_table(filled):
    shown = on_terminal(filled, "stats", "-c", "config.toml")

    assert re.search(r"moesif/acme +api_call +3 +3 +8 +7 +0 +\d+ s ago", shown)
    assert re.search(r"moesif/acme +invalid +3 +3 +3", shown)


def test_stats_names_each_configured_tenant_that_sent_nothing(filled):
    done = command("stats", "-c", "config.toml", "--tenant", "T1", cwd=filled)

    [row] = map(json.loads, done.stdout.splitlines())
    assert ("device", "T1", "", None) == tuple(
        row[name] for name in ("dialect", "tenant", "kind", "last_received")
    )
    assert {"hour": 0, "day": 0, "ever": 0} == row["events"]


def test_stats_of_a_tenant_that_nobody_knows_is_an_error(filled):
    done = command("stats", "-c", "config.toml", "--tenant", "acmee", cwd=filled)

    assert 2 == done.exit_code
    assert "Nothing is known of 'acmee'. The store has counts of: acme." in done.stderr


def post(process, body: str) -> None:
    request = urllib.request.Request(
        f"{process.url}/v1/events",
        body.encode(),
        {"X-Moesif-Application-Id": APPLICATION_ID, "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()


EVENT = (
    '{"request":{"time":"2026-05-04T14:30:00Z","verb":"GET","uri":"https://a/"},'
    '"response":{"time":"2026-05-04T14:30:01Z","status":200}}'
)


def test_status_says_how_a_running_gateway_does(process):
    process.start()
    post(process, EVENT)
    config = process.folder / "asking.toml"
    config.write_text(
        PROCESS_CONFIG.replace(
            '[ops]\nlisten = "127.0.0.1:0"',
            f'[ops]\nlisten = "{process.ops_url.removeprefix("http://")}"',
        )
    )

    done = command("status", "-c", str(config), cwd=process.folder)

    told = json.loads(done.stdout)
    assert [0, "ready", 1] == [done.exit_code, told["status"], told["stored"]]
    assert told["memory_bytes"] > 1 << 20
    assert told["store_bytes"] > 1 << 12
    assert told["disk_free_bytes"] > 0
    process.stop()
    gone = command("status", "-c", str(config), cwd=process.folder)
    assert 69 == gone.exit_code
    assert "no gateway answers at 127.0.0.1" in gone.stderr


def test_tail_goes_on_with_what_comes_in(process):
    process.start()
    post(process, EVENT)
    tail = subprocess.Popen(
        [sys.executable, "-m", "gateway", "tail", "-c", str(process.config)],
        cwd=process.folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert "1" == json.loads(tail.stdout.readline())["sequence"]
        post(process, EVENT)
        assert "2" == json.loads(tail.stdout.readline())["sequence"]
    finally:
        tail.terminate()
        tail.communicate()
