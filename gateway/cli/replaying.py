"""``gateway rejected replay`` and ``gateway rejected drop``."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from gateway.capabilities import Provisions
from gateway.care import Progress
from gateway.checks import spool_path
from gateway.cli.console import (
    UNAVAILABLE,
    command_writer,
    config_option,
    fail,
    read_settings,
    reports,
    show,
)
from gateway.cli.rejected import checked, filters, nothing_found, wanted_of
from gateway.cli.tables import print_rows
from gateway.config import Settings
from gateway.configured import Configured
from gateway.errors import StoreError
from gateway.intake.assembly import Bounds, assemble
from gateway.ops.metrics import Metrics
from gateway.record import Outcome
from gateway.rejected import Wanted, sequences_of
from gateway.rejected import drop as drop_from
from gateway.replay import Order, Replay, Replayed, Report
from gateway.store import Store
from gateway.stores import open_reader
from gateway.stores.spool import open_spool

_NOT_STORED = 1
_FINE = {outcome.value for outcome in Outcome}

ids_argument = click.argument("ids", nargs=-1, metavar="[ID]...")


@click.command()
@config_option
@ids_argument
@filters
@click.option("--all", "everything", is_flag=True, help="All that is in quarantine.")
@click.option(
    "--file",
    "mended",
    type=click.File("rb"),
    help="The text to store in the place of what was sent; - is stdin. For one ID.",
)
@click.option(
    "--path",
    "address",
    metavar="/PATH",
    help="The address to which it was sent, for what an earlier version has kept.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would become of it.")
def replay(
    path: Path,
    everything: bool,
    mended: BinaryIO | None,
    address: str | None,
    dry_run: bool,
    **given: Any,  # Any: the options of `filters`
) -> None:
    """Store what was rejected, after its cause is mended.

    Each event is read again as if it came in now, with the tenant, the client and the time of
    receipt that it had. What is stored leaves the quarantine; a copy of an event that was
    stored meanwhile is a duplicate, and leaves it too. What is still invalid stays, and the
    exit status is 1, but not with --dry-run.

    Mend the schema (a new version), the configuration (reload it), or the text: show ID,
    change a copy of its text, and give that with --file.

    \b
    Example: gateway rejected replay --all --dry-run
    """
    settings = read_settings(path)
    wanted = _given(given, everything=everything)
    text = None
    if mended is not None:
        try:
            text = mended.read().decode().strip()
        except UnicodeDecodeError as error:
            raise click.BadParameter(f"Not UTF-8: {error}", param_hint="--file") from None
    order = Order(wanted, text, address, dry_run)

    async def alone(store: Store, progress: Progress) -> object:
        return await _alone(settings, store, order, progress)

    with reports():
        asyncio.run(_count(settings, wanted))
        done = command_writer(settings, "replay", msgspec.to_builtins(order), alone)
    report = msgspec.convert(done, Report)
    _write(report.replayed)
    if report.stopped:
        fail(f"{report.stopped} Repeat the command: nothing is stored twice.", UNAVAILABLE)
    if not dry_run and any(one.outcome not in _FINE for one in report.replayed):
        sys.exit(_NOT_STORED)


def _given(given: Mapping[str, Any], *, everything: bool) -> Wanted:
    """What is meant; nothing said must not mean everything."""
    wanted = wanted_of(given)
    if not everything and wanted == Wanted():
        raise click.UsageError("Say which: IDs, a filter such as --tenant, or --all.")
    if everything and wanted != Wanted():
        raise click.UsageError("--all is for all: it goes with no ID and no filter.")
    return wanted


async def _count(settings: Settings, wanted: Wanted) -> list[int]:
    """What is meant now; exit where that is nothing because of a name."""
    reader = await open_reader(settings.store.url)
    try:
        await checked(reader, wanted)
        found = await sequences_of(reader, wanted)
        if not found and not wanted.ids:
            click.echo(await nothing_found(reader, wanted), err=True)
        return found
    finally:
        await reader.close()


async def _alone(settings: Settings, store: Store, order: Order, progress: Progress) -> object:
    """Replay where no gateway runs, with an intake of its own."""
    ingest, configured = settings.ingest, Configured.of(settings)
    async with AsyncExitStack() as stack:
        spool = await open_spool(spool_path(settings), settings.spool.max_events)
        stack.push_async_callback(spool.close)
        metrics = Metrics()
        assembly = await assemble(
            stack,
            store=store,
            spool=spool,
            bounds=Bounds(
                ingest.max_waiting_events, ingest.max_waiting_bytes, settings.store.deadline
            ),
            redactor=configured.redactor,
            metrics=metrics,
            client_ids={one.dialect: one.client_id for one in configured.adapters},
        )
        assembly.intake.conflicts.keep = ingest.on_conflict == "keep"
        for adapter in configured.adapters:
            if isinstance(adapter, Provisions):
                adapter.restore(await store.names(adapter.dialect, adapter.created_prefix))
        made = Replay(configured.adapters, assembly.intake, store, store, metrics, ingest.max_event)
        return await made.run(order, progress)


def _write(replayed: Sequence[Replayed]) -> None:
    if not sys.stdout.isatty():
        for one in replayed:
            click.echo(msgspec.json.encode(one))
    elif replayed:
        heads = ("Sequence", "Tenant", "Outcome", "Events", "Why")
        print_rows(heads, [_cells(one) for one in replayed], (0, 3), (1, 2))


def _cells(one: Replayed) -> Sequence[str]:
    told = (f"{p.path}: {p.message}" if p.path else p.message for p in one.problems)
    number = f"{one.sequence}" if one.sequence else one.id
    return number, one.tenant, one.outcome, f"{one.events:,}", " ".join(told)


@click.command()
@config_option
@ids_argument
@filters
@click.option("--all", "everything", is_flag=True, help="All that is in quarantine.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(
    path: Path,
    everything: bool,
    yes: bool,
    **given: Any,  # Any: the options of `filters`
) -> None:
    """Delete what is in quarantine, and leave a record of when and how much.

    To overwrite its bytes in the files as well, use gateway prune --kind rejected.

    \b
    Example: gateway rejected drop --until 30d --yes
    """
    settings = read_settings(path)
    wanted = _given(given, everything=everything)
    with reports():
        found = asyncio.run(_count(settings, wanted))
        missing = f"There is no {', '.join(sorted(wanted.ids))} in quarantine."
        if not found:
            if wanted.ids:
                raise StoreError(missing)
            return
        if not yes:
            click.confirm(f"Delete {len(found):,} rejected events for good?", abort=True, err=True)
        # What came in since was not meant.
        these = Wanted(ids=frozenset(map(str, found)))
        done = command_writer(
            settings,
            "drop",
            msgspec.to_builtins(these),
            lambda store, progress: drop_from(store, these, progress),
        )
    show(done, f"Deleted {done['records']:,} rejected events.")
