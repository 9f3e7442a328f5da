"""Care for a spool's file."""

import sqlite3
from collections.abc import Iterator

import msgspec

from gateway.care import Copied, Finding, Progress
from gateway.errors import StoreError
from gateway.record import EventRecord
from gateway.stores.care.checking import check_database, check_files, unreadable
from gateway.stores.care.database import DatabaseCare, Settled
from gateway.stores.care.engine import examine_sqlite
from gateway.stores.care.reading import snapshot
from gateway.stores.schema import SPOOL

_GIVEN = "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'spooled')"
_RECORDS = "SELECT key, record FROM spooled ORDER BY seq"
_KEEP = "INSERT INTO spooled (key, record) VALUES (?, ?) ON CONFLICT DO NOTHING"
_DECODE = msgspec.msgpack.Decoder(EventRecord).decode


class SpoolCare(DatabaseCare):
    """See `gateway.care.Care`."""

    role = "spool"
    counts = f"SELECT count(*), {_GIVEN} FROM spooled"

    def settle(self, db: sqlite3.Connection, copied: Copied, made_at: int) -> Settled:
        """Add the events that wait in the former spool: they are acknowledged."""
        kept, note = 0, None
        db.execute("BEGIN")
        if self.path.exists():
            try:
                with snapshot(self.path) as former:
                    for row in former.execute(_RECORDS):
                        kept += db.execute(_KEEP, row).rowcount
            except StoreError as error:
                note = f"The former spool could not be read to its end ({error})."
        db.execute("COMMIT")
        [(_, last)] = db.execute(self.counts)
        return Settled(kept, last, note)

    def verify(self, progress: Progress) -> Iterator[Finding]:
        """As `gateway.care.Care.verify`."""
        found = list(check_files(self.path))
        yield from found
        if found:
            return
        try:
            with snapshot(self.path) as db:
                yield from check_database(db, self.path, [SPOOL], progress)
                yield from self._check_records(db)
        except (StoreError, sqlite3.Error) as error:
            yield unreadable(self.path, error)

    def examine_engine(self) -> Iterator[Finding]:
        """As `gateway.care.Care.examine_engine`."""
        return examine_sqlite()

    def _check_records(self, db: sqlite3.Connection) -> Iterator[Finding]:
        waiting = wrong = 0
        for _, blob in db.execute(_RECORDS):
            waiting += 1
            try:
                _DECODE(blob)
            except msgspec.MsgspecError:
                wrong += 1
        if wrong:
            yield Finding("bad", str(self.path), f"{wrong:,} waiting events cannot be decoded")
        yield Finding("ok", str(self.path), f"{waiting:,} events wait for the store")
