"""Whether the counts of a store agree with each other and with its events.

Too few are counted now and then: a crash loses those of a second. Too many never are,
since what is counted was stored before.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gateway.care import Finding

_SINCE = 2
"""The first version of the schema that has counts."""

_STORED = """
SELECT coalesce(sum(count), 0) FROM day_count JOIN count_series ON count_series.id = series
WHERE outcome IN ('stored', 'drained')
"""
# Where no event was ever deleted, and no other store came before, each sequence has its event.
_COMPLETE = "SELECT count(*) = ? FROM event"
_MORE_THAN_EVENTS = """
SELECT dialect, tenant, kind, counted, events FROM (
    SELECT dialect, tenant, kind, sum(count) AS counted
    FROM day_count JOIN count_series ON count_series.id = series
    WHERE outcome IN ('stored', 'drained') GROUP BY dialect, tenant, kind
) LEFT JOIN (
    SELECT dialect, tenant, kind, count(*) AS events
    FROM event JOIN stream ON stream.id = event.stream GROUP BY stream
) USING (dialect, tenant, kind)
WHERE counted > coalesce(events, 0)
"""
# Each hour has the sum of its minutes while these are kept, and each day that of its hours.
_NOT_THE_SUM = {
    "hours": """
SELECT count(*) FROM (
    SELECT hour, series, sum(count) FROM (
        SELECT minute / 60 AS hour, series, count FROM minute_count
        UNION ALL SELECT hour, series, -count FROM hour_count
        WHERE hour >= (SELECT min(minute) / 60 FROM minute_count)
    ) GROUP BY hour, series HAVING sum(count) <> 0
)
""",
    "days": """
SELECT count(*) FROM (
    SELECT day, series FROM (
        SELECT hour / 24 AS day, series, count FROM hour_count
        UNION ALL SELECT day, series, -count FROM day_count
    ) GROUP BY day, series HAVING sum(count) <> 0
)
""",
}
_UNNAMED = """
SELECT count(*) FROM day_count WHERE series NOT IN (SELECT id FROM count_series)
"""


def check_counts(db: sqlite3.Connection, path: Path, last: int) -> Iterator[Finding]:
    """Compare the counts; *last* is the last sequence that was given.

    Raises:
        sqlite3.Error: they cannot be read.
    """
    [(version,)] = db.execute("PRAGMA user_version").fetchall()
    if version < _SINCE:
        return
    [(stored,)] = db.execute(_STORED).fetchall()
    faults = []
    if stored > last:
        faults.append(f"{stored:,} events are counted as stored, but only {last:,} ever were")
    elif db.execute(_COMPLETE, (last,)).fetchall() == [(1,)]:
        faults += [
            f"{counted:,} events of {dialect} / {tenant} / {kind} are counted as stored, "
            f"and {events or 0:,} are there"
            for dialect, tenant, kind, counted, events in db.execute(_MORE_THAN_EVENTS)
        ]
    yield from (Finding("bad", str(path), fault) for fault in faults)
    # Only figures are wrong here. Nothing can mend them, so they are no reason to fail for ever.
    for what, sql in _NOT_THE_SUM.items():
        [(wrong,)] = db.execute(sql).fetchall()
        if wrong:
            faults.append(message := f"counts of {wrong:,} {what} are not the sum of their parts")
            yield Finding("warning", str(path), message)
    [(unnamed,)] = db.execute(_UNNAMED).fetchall()
    if unnamed:
        faults.append(message := f"{unnamed:,} counts are of a series that has no name")
        yield Finding("warning", str(path), message)
    if not faults:
        yield Finding("ok", str(path), f"{stored:,} events are counted as stored")
