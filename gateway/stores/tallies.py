"""Counts in an SQLite store: by the minute for a month, by the hour and by the day for ever."""

import sqlite3
from collections.abc import Sequence

from gateway.errors import StoreError
from gateway.store import Count, CountSelection
from gateway.stores.rejects import Repeats, add_repeats
from gateway.stores.statements import in_transaction

MINUTES_KEPT = 31 * 24 * 60
"""Minutes for which counts by the minute are kept."""

_MINUTE = 60_000_000
UNITS = {"minute": 1, "hour": 60, "day": 24 * 60}
"""The length in minutes of what the rows of a table, ``minute_count`` and so on, stand for."""

_SERIES = "SELECT dialect, tenant, kind, outcome, id FROM count_series"
_NEW = "INSERT OR IGNORE INTO count_series (dialect, tenant, kind, outcome) VALUES (?, ?, ?, ?)"
_ADD = """
INSERT INTO {unit}_count VALUES (?, ?, ?)
ON CONFLICT ({unit}, series) DO UPDATE SET count = count + excluded.count
"""
_OLDEST = "SELECT min(minute) FROM minute_count"
_FORGET = "DELETE FROM minute_count WHERE minute < ?"
_WANTED = """
SELECT id FROM count_series
WHERE coalesce(dialect = :dialect, 1) AND coalesce(tenant = :tenant, 1)
    AND coalesce(kind = :kind, 1) AND coalesce(outcome = :outcome, 1)
"""
_READ = f"""
SELECT start, dialect, tenant, kind, outcome, count FROM (
    SELECT {{unit}} * :length / :step * :step AS start, series, sum(count) AS count
    FROM {{unit}}_count WHERE {{unit}} >= :first AND {{unit}} < :end AND series IN ({_WANTED})
    GROUP BY start, series
) JOIN count_series ON count_series.id = series
ORDER BY start, dialect, tenant, kind, outcome
"""

Names = tuple[str, str, str, str]


class Tallies:
    """Adds counts to a store's file. Series are few: each is interned when it is first counted."""

    def __init__(self) -> None:
        self._numbers: dict[Names, int] = {}
        self.repeats = Repeats()

    def forget_numbers(self) -> None:
        """Look the numbers of series up again."""
        self._numbers = {}

    def write(self, db: sqlite3.Connection, counts: Sequence[Count]) -> None:
        """Add *counts* and what `repeats` has, in one transaction. Raises StoreError."""
        repeats = self.repeats.take()

        def work() -> dict[Names, int]:
            add_repeats(db, repeats)
            return self._add(db, counts) if counts else self._numbers

        try:
            self._numbers = in_transaction(db, work)
        except StoreError:
            # Nothing was kept.
            self.repeats.put_back(repeats)
            raise

    def _add(self, db: sqlite3.Connection, counts: Sequence[Count]) -> dict[Names, int]:
        wanted = {one.series for one in counts}
        numbers = self._numbers
        if not wanted <= numbers.keys():
            db.executemany(_NEW, sorted(wanted))
            numbers = {row[:4]: row[4] for row in db.execute(_SERIES)}
        for unit, length in UNITS.items():
            rows = [
                (one.time // _MINUTE // length, numbers[one.series], one.count) for one in counts
            ]
            db.executemany(_ADD.format(unit=unit), rows)
        _forget(db, max(one.time for one in counts) // _MINUTE - MINUTES_KEPT)
        # For the caller to remember, once the transaction is durable.
        return numbers


def _forget(db: sqlite3.Connection, before: int) -> None:
    """Delete the oldest hour of minutes, if all of it is *before* a minute."""
    [(oldest,)] = db.execute(_OLDEST)
    if oldest is not None and (end := oldest // 60 * 60 + 60) <= before:
        db.execute(_FORGET, (end,))


def read_statement(wanted: CountSelection) -> tuple[str, dict[str, object]]:
    """The SQL that selects counts, in the order of `Count`'s fields, and its values."""
    # The longest unit of which the steps consist: the fewest rows.
    unit, minutes = [one for one in UNITS.items() if wanted.step % one[1] == 0][-1]
    length = minutes * _MINUTE
    values: dict[str, object] = {"length": length, "step": wanted.step * _MINUTE}
    # The first that begins at that time or later.
    values["first"], values["end"] = -(-wanted.since // length), -(-wanted.until // length)
    for name in ("dialect", "tenant", "kind", "outcome"):
        values[name] = getattr(wanted, name)
    return _READ.format(unit=unit), values
