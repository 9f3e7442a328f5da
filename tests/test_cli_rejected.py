"""The commands that look at the quarantine."""

import json
from pathlib import Path

import pytest

from gateway.record import clock
from gateway.stores.sqlite import open_store
from tests.conftest import PROCESS_CONFIG, command
from tests.records import closing, make_rejected
from tests.test_cli_reading import on_terminal

HOUR = 3_600_000_000


def data(path: str, message: str = "Missing data for required field.", raw: str = "{}") -> str:
    problems = [{"path": path, "message": message}]
    return json.dumps({"problems": problems, "raw": raw, "path": "/v1/events", "position": 0})


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """A folder with a good config.toml and a quarantine."""
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    now = clock()
    seen = [
        make_rejected("a", received_at=now - 50 * HOUR, data=data("request.time")),
        make_rejected("b", received_at=now - 30 * HOUR, data=data("items[3].price")),
        make_rejected("c", received_at=now - 2 * HOUR, data=data("items[7].price")),
        make_rejected("d", received_at=now, tenant="other", data=data("request.time")),
        # As an earlier version kept them.
        make_rejected("e", received_at=now, data='{"problems":[],"raw":"x"}'),
    ]
    again = make_rejected("a", received_at=now - HOUR)
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        await store.append(seen)
        await store.append([again])
        await store.add_counts([])
    return tmp_path


def listed(folder: Path, *options: str) -> list[dict[str, object]]:
    done = command("rejected", "list", "-c", "config.toml", *options, cwd=folder)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [5, 4, 3, 2, 1]),
        (["--last", "2"], [5, 4]),
        (["--tenant", "other"], [4]),
        (["--dialect", "moesif", "--field", "request"], [4, 1]),
        (["--field", "items[].price"], [3, 2]),
        (["--field", "items[1].price"], [3, 2]),
        (["--since", "90m"], [5, 4, 1]),
        (["--until", "40h"], [1]),
        (["--id", "2", "--id", "4"], [4, 2]),
    ],
)
def test_the_newest_that_fit_are_listed(filled, options, expected):
    assert expected == [one["sequence"] for one in listed(filled, *options)]


def test_a_record_is_found_by_its_id_and_shown_whole(filled):
    [one] = listed(filled, "--id", "1")
    assert "raw" not in one
    assert 2 == one["times"]

    done = command("rejected", "show", "-c", "config.toml", str(one["id"]), cwd=filled)

    assert {**one, "raw": "{}"} == {**json.loads(done.stdout), "problems": one["problems"]}
    [problem] = json.loads(done.stdout)["problems"]
    assert [0, 2, True] == [problem["start"], problem["end"], problem["missing"]]


def test_by_cause_the_indexes_of_arrays_do_not_matter(filled):
    causes = listed(filled, "--by", "cause", "--tenant", "acme")

    by_field = {cause["field"]: cause for cause in causes}
    assert {"", "items[].price", "request.time"} == by_field.keys()
    prices = by_field["items[].price"]
    assert [2, 2, 3] == [prices["records"], prices["times"], prices["example"]]
    assert ["4f2a9c01 client/1.0"] == prices["clients"]
    assert [1, 2] == [by_field["request.time"]["records"], by_field["request.time"]["times"]]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--tenant", "acmee"], 2, "of the tenant 'acmee' was quarantined. There are: acme, other"),
        (["--field", "requst"], 0, "There are problems at: items[].price, request.time."),
        (["--since", "yesterday"], 2, "Accepted: 90s"),
        (["--id", "77"], 0, "Nothing of that kind is in quarantine."),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(filled, options, status, said):
    done = command("rejected", "list", "-c", "config.toml", *options, cwd=filled)

    assert [status, ""] == [done.exit_code, done.stdout]
    assert said in done.stderr


def test_an_id_that_is_not_there_is_told(filled):
    done = command("rejected", "show", "-c", "config.toml", "99", cwd=filled)

    assert [69, ""] == [done.exit_code, done.stdout]
    assert "There is no 99 in quarantine" in done.stderr


async def test_on_a_terminal_the_faulty_place_is_marked_and_plays_no_tricks(tmp_path):
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    raw = '{"n": "é\x1b]0;x\x07", "request": {"time": "yesterday"}}'
    wicked = make_rejected("a", data=data("request.time", "Not a [bold]time.", raw))
    async with closing(await open_store(f"sqlite:///{tmp_path}/events.db", 10)) as store:
        await store.append([wicked])

    shown = on_terminal(tmp_path, "rejected", "show", "-c", "config.toml", "1")

    assert "\x1b]" not in shown
    assert "request.time: Not a [bold]time." in shown
    lines = shown.splitlines()
    at = next(number for number, line in enumerate(lines) if "^" in line)
    begin, end = lines[at].index("^"), lines[at].rindex("^") + 1
    assert '"yesterday"' == lines[at - 1][begin:end]
    table = on_terminal(tmp_path, "rejected", "list", "-c", "config.toml")
    assert "request.time" in table
    assert "moesif/acme" in on_terminal(
        tmp_path, "rejected", "list", "-c", "config.toml", "--by", "cause"
    )
