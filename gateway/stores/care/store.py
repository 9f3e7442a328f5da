"""Care for a store's SQLite file."""

import sqlite3

from gateway.care import Copied
from gateway.errors import StoreError
from gateway.record import clock
from gateway.stores.care.database import DatabaseCare, Settled
from gateway.stores.care.reading import snapshot

LAST = "SELECT max((SELECT coalesce(max(seq), 0) FROM event), (SELECT seq FROM trimmed))"


class StoreCare(DatabaseCare):
    """See `gateway.care.Care`."""

    role = "store"
    counts = f"SELECT count(*), ({LAST}) FROM event"

    def settle(self, db: sqlite3.Connection, copied: Copied, made_at: int) -> Settled:
        """Go on numbering after the last sequence that may have been given."""
        note = None
        try:
            with snapshot(self.path) as former:
                [(last,)] = former.execute(LAST)
        except StoreError as error:
            # No gateway stores more than one event in a microsecond.
            last = copied.last_sequence + max(0, clock() - made_at)
            note = f"The former store cannot be read ({error}), so sequences skip what it may hold."
        last = max(last, copied.last_sequence)
        db.execute("UPDATE trimmed SET seq = max(seq, ?)", (last,))
        return Settled(0, last, note)
