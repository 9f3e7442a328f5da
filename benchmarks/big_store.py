"""A store that already holds ten million events: built once, kept, copied for each run.

The store's own code fills it, in groups such as a busy gateway writes, so
whatever the store does as it grows is done here too, and as often.
It is built again when the schema or the page size is no longer what it was.
"""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks import machine
from gateway.record import EventRecord, clock, new_id
from gateway.stores import open_store

EVENTS = 10_000_000
_GROUP = 4_000
_TOLD = 1_000_000
_SPACING = 1000
"""Microseconds between two events: ten million span the three hours before the building."""

_SORTS = (
    ("moesif", "acme", "api_call", "POST"),
    ("logspace", "development", "event", "os/cpu"),
    ("device", "T1", "device_event", "0045"),
)
_TEXT = '{"id":"%s","type":"os/cpu","system":"web-7","agent-id":"os-agent","note":"%s"}'
_NOTE = "x" * 60


def working_copy(folder: Path, events: int = EVENTS) -> Path:
    """Put a copy of the big store into *folder*, building the original where needed.

    Raises:
        Unfit: the disk has no room for both.
    """
    kept = machine.FOLDER / f"full-{events}"
    made = asyncio.run(_fingerprint())
    note = kept / "fingerprint"
    if not note.exists() or note.read_text() != made:
        shutil.rmtree(kept, ignore_errors=True)
        # About 330 bytes of an event with its key, the WAL, and the copy.
        machine.need_disk(machine.FOLDER, events * 1000 + (1 << 30))
        kept.mkdir()
        asyncio.run(_build(kept / "events.db", events))
        note.write_text(made)
    size = sum(file.stat().st_size for file in kept.iterdir())
    machine.need_disk(machine.FOLDER, size + (4 << 30))
    for file in kept.glob("events.db*"):
        shutil.copyfile(file, folder / file.name)
        # Written back now, it does not compete with the commits that are to be measured.
        with (folder / file.name).open("rb+") as copy:
            os.fsync(copy.fileno())
    return folder / "events.db"


async def _fingerprint() -> str:
    """What a store made now looks like: its statements, its version, its page size."""
    with tempfile.TemporaryDirectory(dir=machine.FOLDER) as folder:
        path = Path(folder) / "events.db"
        store = await open_store(f"sqlite:///{path}", 1)
        await store.close()
        with closing(sqlite3.connect(path)) as db:
            found = [
                db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall(),
                db.execute("PRAGMA user_version").fetchall(),
                db.execute("PRAGMA page_size").fetchall(),
            ]
    return hashlib.sha256(repr(found).encode()).hexdigest()


async def _build(path: Path, events: int) -> None:
    started = time.monotonic()
    first = clock() - events * _SPACING
    store = await open_store(f"sqlite:///{path}", 1)
    try:
        group: Sequence[EventRecord] = _group(first, 0, min(_GROUP, events))
        for done in range(0, events, _GROUP):
            writing = asyncio.create_task(store.append(group))
            await asyncio.sleep(0)
            # The next group is made while SQLite, without the GIL, writes this one.
            after = done + _GROUP
            group = _group(first, after, min(_GROUP, max(events - after, 0)))
            await writing
            if after % _TOLD == 0:
                spent = time.monotonic() - started
                told = f"building the full store: {after:,} events, {spent:.0f} s"
                print(told, file=sys.stderr, flush=True)
    finally:
        await store.close()


def _group(first: int, at: int, count: int) -> list[EventRecord]:
    records = []
    for number in range(at, at + count):
        key = os.urandom(16)
        dialect, tenant, kind, type_ = _SORTS[number % 3]
        when = first + number * _SPACING
        text = _TEXT % (key.hex(), _NOTE)
        record = EventRecord(
            new_id(when), dialect, tenant, kind, type_, "D1", when, when, "127.0.0.1", key, text
        )
        records.append(record)
    return records
