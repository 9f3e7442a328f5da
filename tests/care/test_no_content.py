"""No failure writes what clients sent to stderr: logs go to more people than events do."""

import sqlite3
from collections.abc import Callable
from contextlib import closing as closed

import pytest

from tests.care.conftest import Site, spoil
from tests.conftest import PROCESS_CONFIG, Process, command
from tests.records import make_record, make_rejected
from tests.system.wire import agent_events, ask, one_call, one_device_event

SECRET = "correct-horse-battery-staple"

# Half of a character: SQLite quotes the text that it cannot decode.
BROKEN = f"CAST(x'{SECRET.encode().hex()}ff22' AS TEXT)"


def change(*statements: str) -> Callable[[Site], None]:
    def changed(site: Site) -> None:
        for path in (site.events, site.spool):
            with closed(sqlite3.connect(path, isolation_level=None)) as db:
                for statement in statements:
                    table = statement.split()[1]
                    if db.execute(
                        "SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)
                    ).fetchall():
                        db.execute(statement)

    return changed


def pages(site: Site) -> None:
    for page in range(5, site.events.stat().st_size // 8192, 3):
        spoil(site.events, page)


DAMAGES = {
    "text of events": change(
        f"UPDATE event SET data = {BROKEN}, subject = {BROKEN}, type = {BROKEN}"
    ),
    "numbers of events": change(f"UPDATE event SET received_at = {BROKEN}, time = {BROKEN}"),
    "ids of events": change(f"UPDATE event SET id = {BROKEN}, key = {BROKEN}"),
    "documents": change(f"UPDATE document SET body = {BROKEN}, name = {BROKEN}"),
    "waiting events": change(f"UPDATE spooled SET record = x'{SECRET.encode().hex()}'"),
    "identities in the spool": change(f"UPDATE spooled SET key = {BROKEN} WHERE seq = 1"),
    "pages": pages,
}

COMMANDS = (
    ("verify",),
    ("export",),
    ("export", "--kind", "rejected"),
    ("backup", "copies"),
    ("recover", "events.db", "recovered.db"),
    ("rebuild-keys",),
    ("doctor",),
    ("rotate",),
)


@pytest.fixture(params=DAMAGES)
async def damaged(request: pytest.FixtureRequest, site: Site) -> Site:
    text = f'"{SECRET}{"x" * 2000}"'
    records = [make_record(f"{n}", data=text, subject=SECRET) for n in range(30)]
    await site.store(*records, *[make_rejected(f"{n}", data=text) for n in range(5)])
    await site.queue(
        *[make_record(f"{n}", data=text) for n in range(40, 45)], make_record(data=text)
    )
    with closed(sqlite3.connect(site.events, isolation_level=None)) as db:
        row = ("device", "T1", f"created/{SECRET}", f'"{SECRET}"', 1)
        db.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?)", row)
    DAMAGES[request.param](site)
    return site


async def test_no_command_prints_content_of_a_damaged_store_to_stderr(damaged):
    for arguments in COMMANDS:
        done = command(*arguments, cwd=damaged.folder)
        assert SECRET not in done.stderr, arguments
        assert SECRET not in repr(done.exception), arguments
        if arguments[0] != "export":
            assert SECRET not in done.stdout, arguments


async def test_a_gateway_on_damaged_files_logs_no_content(damaged):
    process = Process(damaged.folder, PROCESS_CONFIG)
    try:
        process.start()
    except RuntimeError:
        # It says why and ends with 69.
        assert 69 == process.process.wait(10)
    else:
        for request in (one_call(), agent_events(), one_device_event(), one_device_event("Q")):
            await ask(process.url, request)
        process.stop()
    finally:
        process.kill_if_running()
    assert SECRET not in process.log.read_text()
