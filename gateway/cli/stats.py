"""``gateway stats``."""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from gateway.checks import dialects, tenants_of
from gateway.cli.console import config_option, read_settings, reports
from gateway.cli.tables import duration, print_rows
from gateway.config import Settings
from gateway.query import Search
from gateway.record import clock
from gateway.store import ALL_TIME, CountSelection, Reader
from gateway.stores import open_reader
from schemas.times import microseconds, rfc3339

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

    Requests that were refused have no kind, and neither has a tenant that sent nothing. What
    is counted is a second old at most.

    \b
    Example: gateway stats --tenant acme
    """
    settings = read_settings(path)
    silent = () if url else _configured(settings, dialect, tenant)
    with reports():
        rows = asyncio.run(_stats(url or settings.store.url, dialect, tenant, silent))
    if sys.stdout.isatty():
        _print(rows)
        return
    for row in rows:
        click.echo(msgspec.json.encode(row._asdict()))


def _configured(
    settings: Settings, dialect: str | None, tenant: str | None
) -> Sequence[tuple[str, str]]:
    """The dialects and tenants of the configuration, of those that are wanted."""
    return [
        (name, one.tenant)
        for name, table in settings.dialects.items()
        for one in tenants_of(table)
        if dialect in (None, name) and tenant in (None, one.tenant)
    ]


async def _stats(
    url: str, dialect: str | None, tenant: str | None, configured: Sequence[tuple[str, str]]
) -> Sequence[Row]:
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
        if tenant is not None and not names and not configured:
            await _refuse(reader, tenant)
        # A tenant that never sent anything is what somebody may be looking for.
        names |= {(*one, "") for one in configured} - {(*one[:2], "") for one in names}
        return [_row(one, counts, await _newest(reader, *one)) for one in sorted(names)]
    finally:
        await reader.close()


async def _refuse(reader: Reader, tenant: str) -> None:
    """Say which tenants there are."""
    there = sorted({one.series[1] for one in await reader.counts(CountSelection(step=ALL_TIME))})
    known = ", ".join(filter(None, there)) or "none"
    raise click.BadParameter(
        f"Nothing is known of '{tenant}'. The store has counts of: {known}.", param_hint="--tenant"
    )


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
    heads = ("Tenant", "Kind", "Hour", "Day", "Ever", "Duplicates", "Rejected", "Last")
    taken = [row for row in rows if row.kind or not row.refused]
    print_rows(heads, [_cells(row) for row in taken], range(2, 7), whole=True)
    refused = [
        (_owner(row), reason, *(f"{counts[period]:,}" for period in _PERIODS))
        for row in rows
        for reason, counts in row.refused.items()
    ]
    if refused:
        refusals = ("Refused requests of", "Reason", "Hour", "Day", "Ever")
        print_rows(refusals, refused, range(2, 5), whole=True)
    click.echo("Duplicates and rejected: of the last day.")


def _cells(row: Row) -> Sequence[str]:
    return (
        _owner(row),
        row.kind,
        *(f"{row.events[period]:,}" for period in _PERIODS),
        f"{row.duplicates['day']:,}",
        f"{row.rejected['day']:,}",
        "never" if row.last_received is None else _ago(row.last_received),
    )


def _owner(row: Row) -> str:
    return f"{row.dialect or '(unknown)'}/{row.tenant or '(unknown)'}"


def _ago(time: str) -> str:
    return f"{duration(max(0, clock() - microseconds(time)) // 1_000_000)} ago"
