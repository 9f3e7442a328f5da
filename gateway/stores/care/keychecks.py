"""Whether the runs of keys have the keys of the events, and how to make them anew.

The events are read once. Their keys are put aside by their first byte, and compared bucket
by bucket, so that memory holds a small part of them at a time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import NamedTuple

from gateway.care import Finding, Progress
from gateway.stores import bloom, lanes

_BUCKETS = 256
_WIDTH = 16
_IN_MEMORY = 1 << 20
_KEYS = """
SELECT seq, event.key FROM event CROSS JOIN stream ON stream.id = event.stream
WHERE length(event.key) = 16 AND kind <> 'rejected' ORDER BY seq
"""
_SEALED = "SELECT coalesce(max(last_seq), 0) FROM sealed_run"
_RUN_KEYS = """
SELECT key_run.run, keys FROM key_run JOIN sealed_run USING (run) WHERE bucket = ?
"""
_OLDER = """
SELECT run FROM sealed_run WHERE last_seq < (SELECT coalesce(min(seq), 1 << 62) FROM event)
"""
_PLACED = "SELECT run, lane, bit FROM sealed_run WHERE lane IS NOT NULL ORDER BY lane, bit"
_FILTERS_SINCE = 5
_INCOMPLETE = """
SELECT run, count(key_run.bucket) FROM sealed_run LEFT JOIN key_run USING (run)
GROUP BY run HAVING count(key_run.bucket) <> 256
"""


class _Counts(NamedTuple):
    keys: int
    lacking: int
    twice: int
    malformed: int


def check_keys(db: sqlite3.Connection, path: Path, progress: Progress) -> Iterator[Finding]:
    """Compare the keys of events with those in runs.

    Raises:
        sqlite3.Error: the events or the runs cannot be read.
    """
    incomplete = db.execute(_INCOMPLETE).fetchall()
    for run, buckets in incomplete:
        yield Finding("bad", str(path), f"run {run} of keys has {buckets} of {_BUCKETS} parts")
    [(sealed,)] = db.execute(_SEALED)
    found = _compare(db, path, sealed, progress)
    if found.twice:
        yield Finding("bad", str(path), f"{found.twice:,} events have the key of another event")
    if found.malformed:
        yield Finding("bad", str(path), f"{found.malformed:,} parts of runs hold no keys")
    if found.lacking:
        message = f"{found.lacking:,} events are in no run of keys: run gateway rebuild-keys"
        yield Finding("bad", str(path), message)
    if not (found.lacking or found.twice or found.malformed or incomplete):
        yield Finding("ok", str(path), f"the keys of {found.keys:,} events are known")


def check_filters(db: sqlite3.Connection, path: Path, progress: Progress) -> Iterator[Finding]:
    """Whether the filters in the file have the keys of their runs.

    Raises:
        sqlite3.Error: the runs cannot be read.
    """
    [(version,)] = db.execute("PRAGMA user_version").fetchall()
    if version < _FILTERS_SINCE:
        return
    placed = db.execute(_PLACED).fetchall()
    lacking = 0
    for done, (run, lane, bit) in enumerate(placed, start=1):
        slots = lanes.load(db, lane)
        if slots is None:
            message = f"filter {lane} of keys is damaged: the next start makes it anew"
            yield Finding("warning", str(path), message)
            continue
        keys = db.execute("SELECT keys FROM key_run WHERE run = ?", (run,))
        lacking += sum(bloom.lacking(slots, bit, joined) for (joined,) in keys)
        progress(f"{path.name}: filters of keys", done, len(placed))
    if lacking:
        message = f"{lacking:,} keys are not in their filter: run gateway rebuild-keys"
        yield Finding("bad", str(path), message)


def _compare(db: sqlite3.Connection, path: Path, sealed: int, progress: Progress) -> _Counts:
    [(total,)] = db.execute("SELECT coalesce(max(seq), 0) FROM event")
    keys = lacking = twice = malformed = 0
    with ExitStack() as stack:
        # What is not sealed yet needs to be in no run: it is kept apart, for `twice` alone.
        old = [stack.enter_context(SpooledTemporaryFile(_IN_MEMORY)) for _ in range(_BUCKETS)]
        new = [stack.enter_context(SpooledTemporaryFile(_IN_MEMORY)) for _ in range(_BUCKETS)]
        for seq, key in db.execute(_KEYS):
            (old if seq <= sealed else new)[key[0]].write(key)
            keys += 1
            if keys % 10_000 == 0:
                progress(f"{path.name}: keys of events", seq, total)
        for bucket in range(_BUCKETS):
            known: set[bytes] = set()
            for _, blob in db.execute(_RUN_KEYS, (bucket,)):
                sound = len(blob) % _WIDTH == 0 and set(blob[::_WIDTH]) <= {bucket}
                malformed += not sound
                known.update(_split(blob))
            sealed_keys, recent = _read(old[bucket]), _read(new[bucket])
            unique = set(sealed_keys)
            lacking += len(unique - known)
            twice += len(sealed_keys) + len(recent) - len(unique | set(recent))
            progress(f"{path.name}: runs of keys", bucket + 1, _BUCKETS)
    return _Counts(keys, lacking, twice, malformed)


def _read(file: "SpooledTemporaryFile[bytes]") -> list[bytes]:
    file.seek(0)
    return _split(file.read())


def _split(blob: bytes) -> list[bytes]:
    return [blob[at : at + _WIDTH] for at in range(0, len(blob), _WIDTH)]


def drop_runs(db: sqlite3.Connection) -> int:
    """Delete the runs that can be made again from events; return how many are left.

    Runs older than the first event are left if they are whole: they are of events that
    are no longer here, and nothing else knows their keys.
    """
    [(first,)] = db.execute("SELECT coalesce(min(seq), 1 << 62) FROM event")
    left = [
        run
        for (run,) in db.execute(
            "SELECT run FROM sealed_run WHERE last_seq < ?", (first,)
        ).fetchall()
        if sound_run(db, run)
    ]
    numbers = ",".join(map(str, left))
    db.execute(f"DELETE FROM key_run WHERE run NOT IN ({numbers})")
    db.execute(f"DELETE FROM sealed_run WHERE run NOT IN ({numbers})")
    db.execute("UPDATE sealed_run SET lane = NULL, bit = NULL")
    lanes.tidy(db)
    return len(left)


def sound_run(db: sqlite3.Connection, run: int) -> list[tuple[int, bytes]]:
    """The parts of a run, each with its first byte; none if they are not what they should be."""
    rows = db.execute("SELECT bucket, keys FROM key_run WHERE run = ?", (run,)).fetchall()
    whole = len(rows) == _BUCKETS and all(
        len(keys) % _WIDTH == 0 and set(keys[::_WIDTH]) <= {bucket} for bucket, keys in rows
    )
    return rows if whole else []
