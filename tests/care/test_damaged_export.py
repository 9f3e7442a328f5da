"""``gateway export`` of a store with damage: what can be read is written, the rest counted."""

import json
import re
import sqlite3
from contextlib import closing as closed

import pytest

from tests.care.conftest import Site, spoil
from tests.conftest import command
from tests.records import make_record

COUNT = 400


def leaves(site: Site) -> list[int]:
    with closed(sqlite3.connect(site.events)) as db:
        sql = "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf' ORDER BY path"
        return [page for (page,) in db.execute(sql)]


def change(site: Site, sql: str) -> None:
    with closed(sqlite3.connect(site.events)) as db, db:
        db.execute(sql)


@pytest.fixture
async def full(site: Site) -> Site:
    tenants = ("acme", "other")
    await site.store(
        *[
            make_record(
                f"{n}", data=json.dumps({"n": n, "text": "secret" * 50}), tenant=tenants[n % 2]
            )
            for n in range(1, COUNT + 1)
        ]
    )
    return site


def exported(site: Site, *options: str) -> tuple[list[int], int, str]:
    """The numbers of the events, the exit status, and what stands on stderr."""
    done = command("export", *options, cwd=site.folder)
    numbers = [json.loads(line)["data"]["n"] for line in done.stdout.splitlines()]
    assert "secret" not in done.stderr
    return numbers, done.exit_code, done.stderr


def lost_in(notice: str) -> set[int]:
    ranges = re.search(r"of the sequences ([\d,; to]+)", notice)[1].replace(",", "")
    ends = [[int(end) for end in one.split(" to ")] for one in ranges.split(";")]
    return {number for pair in ends for number in range(pair[0], pair[-1] + 1)}


@pytest.mark.parametrize("which", [[0], [5], [-1], [3, 4, 9], [0, -1]])
async def test_an_export_goes_past_damaged_pages_and_counts_what_is_lost(full, which):
    pages = leaves(full)
    for at in which:
        spoil(full.events, pages[at])

    numbers, status, notice = exported(full)

    lost = lost_in(notice)
    assert 65 == status
    assert numbers == sorted(set(range(1, COUNT + 1)) - lost)
    assert len(which) <= len(lost & set(range(1, COUNT + 1))) < len(which) * 40
    assert f"up to {len(lost):,} events could not be read" in notice


async def test_filters_and_limits_hold_beyond_the_damage(full):
    spoil(full.events, leaves(full)[3])

    everything, _, notice = exported(full)
    lost = lost_in(notice)
    others = [n for n in everything if n % 2]

    assert others == exported(full, "--tenant", "other")[0]
    assert others[:150] == exported(full, "--tenant", "other", "--limit", "150")[0]
    behind = str(max(lost))
    assert [n for n in others if n > max(lost)] == exported(
        full, "--tenant", "other", "--after", behind
    )[0]


@pytest.mark.parametrize(
    "damage",
    [
        "data = CAST(x'22736563726574ff22' AS TEXT)",
        "data = '{\"secret\": '",
        "id = x'00'",
        "received_at = 'secret'",
        "client_address = x'00ff'",
    ],
)
async def test_a_row_that_is_not_what_the_gateway_writes_is_left_out(full, damage):
    change(full, f"UPDATE event SET {damage} WHERE seq = 77")

    numbers, status, notice = exported(full)

    assert 65 == status
    assert {77} == lost_in(notice)
    assert [n for n in range(1, COUNT + 1) if n != 77] == numbers


async def test_without_damage_the_exit_status_is_0(full):
    assert (list(range(1, COUNT + 1)), 0, "") == exported(full)


async def test_a_store_whose_first_page_is_damaged_cannot_be_exported(full):
    spoil(full.events, 1)

    numbers, status, notice = exported(full)

    assert ([], 69) == (numbers, status)
    assert "not a database" in notice
