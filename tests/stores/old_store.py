"""Stores as an earlier version of the gateway wrote them."""

import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from gateway.record import EventRecord, Kind
from gateway.stores.keys import RUN_KEYS
from gateway.stores.runs import add_run
from gateway.stores.schema import migrations
from tests.records import NOW, make_record

_EVENT = """
INSERT INTO event (seq, id, stream, key, time, received_at, type, subject, client_address, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def make_old_store(path: Path, version: int, records: Iterable[EventRecord]) -> None:
    """Write *records* into a new store of schema *version*, the keys of full runs sealed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA page_size=8192")
        db.execute("PRAGMA journal_mode=WAL")
        for script in migrations()[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version={version:d}")
        numbered = enumerate(records, start=1)
        while part := list(itertools.islice(numbered, RUN_KEYS)):
            db.execute("BEGIN")
            db.executemany(_EVENT, _rows(db, part))
            keys = [one.key for _, one in part if one.key and one.kind != Kind.REJECTED]
            if len(keys) == RUN_KEYS:
                add_run(db, part[0][0], keys, part[-1][0])
            db.execute("COMMIT")


def _rows(
    db: sqlite3.Connection, part: Iterable[tuple[int, EventRecord]]
) -> Iterator[tuple[object, ...]]:
    streams: dict[tuple[str, str, str], int] = {}
    for seq, one in part:
        names = (one.dialect, one.tenant, one.kind)
        if names not in streams:
            db.execute(
                "INSERT OR IGNORE INTO stream (dialect, tenant, kind) VALUES (?, ?, ?)", names
            )
            sql = "SELECT id FROM stream WHERE dialect = ? AND tenant = ? AND kind = ?"
            [(streams[names],)] = db.execute(sql, names)
        if one.kind == Kind.REJECTED:
            db.execute("INSERT INTO quarantine (seq, key) VALUES (?, ?)", (seq, one.key))
        times = (one.time, one.received_at)
        texts = (one.type, one.subject, one.client_address, one.data)
        yield (seq, one.id, streams[names], one.key, *times, *texts)


def many_records(count: int) -> Iterator[EventRecord]:
    """*count* small records; the one at position n has the id and the key ``key_at(n)``."""
    fields = make_record("like this", data="{}")
    for n in range(count):
        key = key_at(n)
        yield EventRecord(
            key, fields.dialect, fields.tenant, fields.kind, "GET", None, NOW, NOW, "", key, "{}"
        )


def key_at(n: int) -> bytes:
    """The key of the record at position *n*; evenly spread, as hashes are."""
    return (n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)).to_bytes(16, "big")
