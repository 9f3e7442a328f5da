"""Care for a spool's file."""

import sqlite3

from gateway.care import Copied
from gateway.errors import StoreError
from gateway.stores.care.database import DatabaseCare, Settled
from gateway.stores.care.reading import snapshot

_GIVEN = "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'spooled')"
_RECORDS = "SELECT key, record FROM spooled ORDER BY seq"
_KEEP = "INSERT INTO spooled (key, record) VALUES (?, ?) ON CONFLICT DO NOTHING"


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
