"""``gateway rejected list`` and ``gateway rejected show``."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from gateway.checks import dialects
from gateway.cli.console import UNAVAILABLE, config_option, fail, read_settings, reports
from gateway.cli.moments import Timestamp
from gateway.cli.tables import print_marked, print_rows, shown_time
from gateway.errors import Reason, StoreError
from gateway.intake.quarantine import CONFLICT
from gateway.rejected import (
    Cause,
    Rejection,
    Wanted,
    causes,
    check_names,
    known_fields,
    marked,
    rejections,
)
from gateway.store import Reader
from gateway.stores import open_reader
from schemas.times import rfc3339

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

_REASONS = (Reason.INVALID.value, Reason.NOT_JSON.value, CONFLICT)


def filters(command: FunctionT) -> FunctionT:
    """Add the options that say which quarantined records are meant."""
    for option in (
        click.option("--field", help="Only with a problem at this path, or below it."),
        click.option("--reason", type=click.Choice(_REASONS), help="Only for this reason."),
        click.option("--until", type=Timestamp(), help="Only what first came before this time."),
        click.option("--since", type=Timestamp(), help="Only what came at this time or later."),
        click.option("--tenant", help="Only of this tenant."),
        click.option("--dialect", type=click.Choice(sorted(dialects())), help="Only this dialect."),
    ):
        command = option(command)
    return command


store_option = click.option(
    "--store", "url", help="Another store, a sealed one for example, by its URL."
)


def wanted_of(given: Mapping[str, Any]) -> Wanted:  # Any: the values of options
    """What the options say, by name."""
    return Wanted(**{**given, "ids": frozenset(given["ids"])})


@click.group()
def rejected() -> None:
    """Look at what the gateway has rejected and quarantined, replay it or drop it."""


@rejected.command("list")
@config_option
@store_option
@filters
@click.option(
    "--id", "ids", multiple=True, metavar="ID", help="Only this one: a sequence or an id."
)
@click.option("--by", type=click.Choice(["cause"]), help="Together what is wrong in the same way.")
@click.option(
    "-n",
    "--last",
    "limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="At most N.",
)
def list_(
    path: Path,
    url: str | None,
    by: str | None,
    limit: int,
    **given: Any,  # Any: the options of `filters`
) -> None:
    """List what is quarantined, newest first: a table on a terminal, JSON lines in a pipe.

    \b
    Example: gateway rejected list --by cause --since 1d
    """
    settings = read_settings(path)
    with reports():
        asyncio.run(_list(url or settings.store.url, by, limit, wanted_of(given)))


async def _list(url: str, by: str | None, limit: int, wanted: Wanted) -> None:
    reader = await open_reader(url)
    try:
        await checked(reader, wanted)
        if by is None:
            found: Sequence[Any] = await newest(reader, wanted, limit + 1)
        else:
            found = await causes(reader, wanted)
        if not found:
            click.echo(await nothing_found(reader, wanted), err=True)
    finally:
        await reader.close()
    _write(found[:limit])
    if len(found) > limit:
        click.echo(f"There are more than these {limit:,}: see --last.", err=True)


async def checked(reader: Reader, wanted: Wanted) -> None:
    """Exit with what there is if the names in *wanted* are of nobody."""
    try:
        await check_names(reader, wanted)
    except StoreError as error:
        raise click.UsageError(str(error)) from None


async def newest(reader: Reader, wanted: Wanted, limit: int) -> list[Rejection]:
    """The newest *limit* of what is wanted."""
    found: list[Rejection] = []
    async with aclosing(rejections(reader, wanted)) as all_of_them:
        async for one in all_of_them:
            found.append(one)
            if len(found) >= limit:
                break
    return found


async def nothing_found(reader: Reader, wanted: Wanted) -> str:
    """What to say where nothing fits."""
    if wanted.field is None:
        return "Nothing of that kind is in quarantine."
    fields = await known_fields(reader, wanted)
    return f"No problem is at '{wanted.field}'. There are problems at: {fields}."


def _write(found: Sequence[Rejection | Cause]) -> None:
    if not sys.stdout.isatty():
        for one in found:
            click.echo(msgspec.json.encode(as_json(one)))
    elif found and isinstance(found[0], Cause):
        print_rows(
            ("Records", "Times", "First seen (UTC)", "Last seen", *_WHY, "Clients", "Example"),
            [_cause_cells(one) for one in found if isinstance(one, Cause)],
            (0, 1, 8),
            (2, 3, 4),
        )
    elif found:
        heads = ("Sequence", "Last seen (UTC)", "Times", *_WHY, "Client")
        print_rows(
            heads, [_cells(one) for one in found if isinstance(one, Rejection)], (0, 2), (1, 3)
        )


_WHY = ("Tenant", "Field", "Problem")


def _cells(one: Rejection) -> Sequence[str]:
    return (
        f"{one.sequence}",
        shown_time(one.last_seen),
        f"{one.times:,}",
        f"{one.dialect}/{one.tenant}",
        one.problem.path,
        one.problem.message,
        f"{one.credential} {one.user_agent}".strip() or one.client_address,
    )


def _cause_cells(one: Cause) -> Sequence[str]:
    return (
        f"{one.records:,}",
        f"{one.times:,}",
        shown_time(one.first_seen),
        shown_time(one.last_seen),
        f"{one.dialect}/{one.tenant}",
        one.field,
        one.message,
        ", ".join(one.clients),
        f"{one.example}",
    )


def as_json(one: Rejection | Cause, *, whole: bool = False) -> dict[str, Any]:  # Any: JSON
    """What JSON lines tell of it; *whole* adds the text, with the places of the problems."""
    told: dict[str, Any] = msgspec.to_builtins(one)
    for name in ("first_seen", "last_seen"):
        told[name] = rfc3339(told[name])
    if isinstance(one, Cause):
        return told
    told |= told.pop("content")
    if whole:
        return {**told, "problems": marked(one.content)}
    return {name: value for name, value in told.items() if name != "raw"}


@rejected.command()
@config_option
@store_option
@click.argument("which", metavar="ID")
def show(path: Path, url: str | None, which: str) -> None:
    """Show all that is kept of one rejected event, with the places of its problems.

    ID is its sequence, or its id.

    \b
    Example: gateway rejected show 1
    """
    settings = read_settings(path)
    with reports():
        found = asyncio.run(_find(url or settings.store.url, which))
    if found is None:
        fail(f"There is no {which} in quarantine; see gateway rejected list.", UNAVAILABLE)
    elif sys.stdout.isatty():
        print_marked(_words(found), found.content.raw, marked(found.content))
    else:
        click.echo(msgspec.json.encode(as_json(found, whole=True)))


async def _find(url: str, which: str) -> Rejection | None:
    reader = await open_reader(url)
    try:
        return next(iter(await newest(reader, Wanted(ids=frozenset((which,))), 1)), None)
    finally:
        await reader.close()


def _words(one: Rejection) -> Sequence[tuple[str, str]]:
    content = one.content
    where = content.path or "unknown: an earlier version kept it"
    if content.position is not None:
        where += f", number {content.position} of the batch"
    seen = f"{shown_time(one.first_seen)} UTC"
    if one.times > 1:
        seen += f", and again until {shown_time(one.last_seen)}: {one.times:,} times"
    size = f"{len(content.raw):,} characters"
    return (
        ("sequence", f"{one.sequence}"),
        ("id", one.id),
        ("tenant", f"{one.dialect}/{one.tenant}"),
        ("reason", one.reason),
        ("sent to", where),
        ("received", seen),
        ("client", f"{one.client_address} {one.credential} {one.user_agent}".strip()),
        ("text", f"{size}, perhaps only the beginning" if content.cut else size),
    )
