"""``gateway stats``."""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from gateway.checks import dialects
from gateway.cli.console import config_option, read_settings, reports
from gateway.cli.tables import print_rows
from gateway.query import Search
from gateway.record import clock
from gateway.store import ALL_TIME, CountSelection, Reader
from gateway.stores import open_reader
from schemas.times import rfc3339

_HOUR = 3_600_000_000
_PERIODS: Mapping[str, tuple[int, int]] = {
    "hour": (_HOUR, 1),
    "day": (24 * _HOUR, 60),
    "ever": (1 << 62, ALL_TIME),
}
"""Of each period its length in microseconds, and the step in minutes in which it is counted."""

_TAKEN = ("stored", "queued")
_EVENTS_NOT_TAKEN = ("duplicate", "drained", "drained_duplicate", "rejected")
_NEWEST_SECONDS = 1.0


class Row(NamedTuple):
    """What is known of the events of one dialect, tenant and kind; counts are by period."""

    dialect: str
    tenant: str
    kind: str
    last_received: str | None
    events: Mapping[str, int]
    duplicates: Mapping[str, int]
    rejected: Mapping[str, int]
    refused: Mapping[str, Mapping[str, int]]


@click.command()
@config_option
@click.option("--store", "url", help="Another store, a sealed one for example, by its URL.")
@click.option("--dialect", type=click.Choice(sorted(dialects())), help="Only this dialect.")
@click.option("--tenant", help="Only this tenant.")
def stats(path: Path, url: str | None, dialect: str | None, tenant: str | None) -> None:
    """Show what came in, by tenant and kind: in the last hour, in the last day, and ever.

    Requests that were refused have no kind. What is counted is a second old at most.

    \b
    Example: gateway stats --tenant acme
    """
    settings = read_settings(path)
    with reports():
        rows = asyncio.run(_stats(url or settings.store.url, dialect, tenant))
    if sys.stdout.isatty():
        _print(rows)
        return
    for row in rows:
        click.echo(msgspec.json.encode(row._asdict()))


async def _stats(url: str, dialect: str | None, tenant: str | None) -> Sequence[Row]:
    reader = await open_reader(url)
    now = clock()
    counts: dict[str, Counter[tuple[str, str, str, str]]] = {}
    try:
        for period, (length, step) in _PERIODS.items():
            wanted = CountSelection(
                since=max(0, now - length), step=step, dialect=dialect, tenant=tenant
            )
            counts[period] = Counter()
            for one in await reader.counts(wanted):
                counts[period][one.series] += one.count
        names = {series[:3] for series in counts["ever"]}
        return [_row(one, counts, await _newest(reader, *one)) for one in sorted(names)]
    finally:
        await reader.close()


async def _newest(reader: Reader, dialect: str, tenant: str, kind: str) -> str | None:
    if not kind:
        return None
    wanted = Search(dialect=dialect, tenant=tenant, kind=kind, limit=1)
    found = (await reader.search(wanted, _NEWEST_SECONDS)).found
    return rfc3339(found[0][1].received_at) if found else None


def _row(
    names: tuple[str, str, str],
    counts: Mapping[str, Mapping[tuple[str, str, str, str], int]],
    last: str | None,
) -> Row:
    def of(*outcomes: str) -> Mapping[str, int]:
        return {
            period: sum(by_series.get((*names, outcome), 0) for outcome in outcomes)
            for period, by_series in counts.items()
        }

    known = {*_TAKEN, *_EVENTS_NOT_TAKEN}
    reasons = {
        series[3] for series in counts["ever"] if series[:3] == names and series[3] not in known
    }
    refused = {reason: of(reason) for reason in sorted(reasons)}
    return Row(*names, last, of(*_TAKEN), of("duplicate"), of("rejected"), refused)


def _print(rows: Sequence[Row]) -> None:
    heads = ("Tenant", "Kind", "Hour", "Day", "Ever", "Duplicates", "Rejected", "Refused", "Last")
    print_rows(heads, [_cells(row) for row in rows], range(2, 7))
    click.echo("Duplicates, rejected and refused: of the last day. Times: UTC.")


def _cells(row: Row) -> Sequence[str]:
    refused = [f"{reason} {n['day']:,}" for reason, n in row.refused.items() if n["day"]]
    last = "" if row.last_received is None else row.last_received[:19].replace("T", " ")
    return (
        f"{row.dialect}/{row.tenant}" if row.dialect else "(unknown)",
        row.kind,
        *(f"{row.events[period]:,}" for period in _PERIODS),
        f"{row.duplicates['day']:,}",
        f"{row.rejected['day']:,}",
        ", ".join(refused),
        last,
    )
