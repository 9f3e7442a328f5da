"""Runs of keys in a file: what is in a row, and what only seems to be."""

import sqlite3
from contextlib import closing

from gateway.stores import runs
from gateway.stores.schema import migrations


def test_bytes_of_two_neighbouring_keys_are_no_key():
    first, second = (b"\7" + half * 7 + b"\7" + half * 7 for half in (b"a", b"b"))
    with closing(sqlite3.connect(":memory:")) as db:
        for script in migrations():
            db.executescript(script)
        runs.add_run(db, 0, [first, second], 2)

        assert all(runs.has(db, 0, key) for key in (first, second))
        # One of them stands in the row, whichever key comes first.
        assert not any(
            runs.has(db, 0, key) for key in (first[8:] + second[:8], second[8:] + first[:8])
        )
        assert not runs.has(db, 1, first)
