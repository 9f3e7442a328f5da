"""Counts in a PostgreSQL store: by the minute for a month, by the hour and day for ever."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.store import Count, CountSelection
from gateway.stores.postgres.connections import Connection
from gateway.stores.tallies import MINUTES_KEPT, UNITS

_MINUTE = 60_000_000
_SERIES = "SELECT dialect, tenant, kind, outcome, id FROM count_series"
_NEW = """
INSERT INTO count_series (dialect, tenant, kind, outcome)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""
_ADD = """
INSERT INTO {unit}_count ({unit}, series, count)
SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) ORDER BY 1, 2
ON CONFLICT ({unit}, series) DO UPDATE SET count = {unit}_count.count + excluded.count
"""
_FORGET = "DELETE FROM minute_count WHERE minute < $1"
_READ = """
SELECT start, dialect, tenant, kind, outcome, count FROM (
    SELECT {unit} * $1::bigint / $2 * $2 AS start, series, sum(count)::bigint AS count
    FROM {unit}_count WHERE {unit} >= $3 AND {unit} < $4 GROUP BY start, series
) AS added JOIN count_series ON count_series.id = series
WHERE ($5::text IS NULL OR dialect = $5) AND ($6::text IS NULL OR tenant = $6)
    AND ($7::text IS NULL OR kind = $7) AND ($8::text IS NULL OR outcome = $8)
ORDER BY start, dialect COLLATE "C", tenant COLLATE "C", kind COLLATE "C", outcome COLLATE "C"
"""

Numbers = dict[tuple[str, str, str, str], int]


class Series:
    """The numbers of series: few, each given when it is first counted."""

    def __init__(self) -> None:
        self._numbers: Numbers = {}

    def forget(self) -> None:
        """Look them up again."""
        self._numbers = {}

    async def add(self, connection: Connection, counts: Sequence[Count]) -> Numbers:
        """Add *counts*, in a transaction of the caller; return what `learn` takes after it."""
        wanted = {one.series for one in counts}
        numbers = self._numbers
        if not wanted <= numbers.keys():
            await connection.execute(_NEW, *map(list, zip(*sorted(wanted), strict=True)))
            numbers = {tuple(row[:4]): row[4] for row in await connection.fetch(_SERIES)}
        for unit, length in UNITS.items():
            added: Counter[tuple[int, int]] = Counter()
            for one in counts:
                added[one.time // _MINUTE // length, numbers[one.series]] += one.count
            times, series = zip(*added, strict=True)
            sql = _ADD.format(unit=unit)
            await connection.execute(sql, list(times), list(series), list(added.values()))
        oldest = (max(one.time for one in counts) // _MINUTE - MINUTES_KEPT) // 60 * 60
        await connection.execute(_FORGET, oldest)
        return numbers

    def learn(self, numbers: Numbers) -> None:
        """The transaction that gave these numbers is durable."""
        self._numbers = numbers


async def read(connection: Connection, wanted: CountSelection) -> list[Count]:
    """As `gateway.store.Reader.counts`."""
    # The longest unit of which the steps consist: the fewest rows.
    unit, minutes = [one for one in UNITS.items() if wanted.step % one[1] == 0][-1]
    length = minutes * _MINUTE
    names: Sequence[Any] = wanted.dialect, wanted.tenant, wanted.kind, wanted.outcome
    # The first that begins at that time or later.
    first, end = -(-wanted.since // length), -(-wanted.until // length)
    step = wanted.step * _MINUTE
    rows = await connection.fetch(_READ.format(unit=unit), length, step, first, end, *names)
    return [Count(*row) for row in rows]
