"""``gateway export``."""

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

import click
from msgspec.structs import replace

from gateway.checks import dialects
from gateway.cli.console import (
    BAD_CONFIG,
    DAMAGED,
    IO_ERROR,
    UNAVAILABLE,
    config_option,
    fail,
    progress_bars,
    read_settings,
)
from gateway.cli.moments import Timestamp
from gateway.errors import StoreError
from gateway.export import DAMAGES, FORMATS, MissingExtra, Writer
from gateway.query import Search
from gateway.record import Kind
from gateway.store import Passed, Reader, Selection
from gateway.stores import files_of, open_reader

_LISTED = 10
_BROKEN_PIPE = 128 + signal.SIGPIPE
_POLL = 0.5
"""Seconds between two looks for new events."""

_LAST_SECONDS = 1.0
_STEP = 1_000
"""Events between two moves of the bar."""


@click.command()
@config_option
@click.option("--store", "url", help="Another store, a sealed one for example, by its URL.")
@click.option("--dialect", type=click.Choice(sorted(dialects())), help="Only this dialect.")
@click.option("--tenant", help="Only this tenant.")
@click.option("--kind", help=f"Only this kind; {Kind.REJECTED} shows the quarantine.")
@click.option("--subject", help="Only of this subject.")
@click.option("--since", type=Timestamp(), help="Only what was received at or after this time.")
@click.option("--until", type=Timestamp(), help="Only what was received before this time.")
@click.option(
    "--after",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    metavar="SEQ",
    help="Only what follows this sequence.",
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N records.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="ndjson",
    show_default=True,
    help="CloudEvents 1.0 as JSON lines; or a table.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes in, until Ctrl+C.")
def export(
    path: Path,
    url: str | None,
    form: str,
    follow: bool,
    **wanted: Any,  # Any: the options above, by name
) -> None:
    """Write stored records to stdout: CloudEvents 1.0, one JSON object a line, or a table.

    Reads the store beside a gateway that runs. What is damaged is left out, and counted at
    the end; the exit status is then 65. Parquet needs the extra parquet.

    \b
    Example: gateway export --tenant acme --since 1d --format csv
    """
    settings = read_settings(path)
    if form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: write it to a file, with >FILE.")
    try:
        exporting = _Exporting(url or settings.store.url, FORMATS[form], Selection(**wanted))
        with progress_bars() as bars:
            # On the screen a bar would stand among the events.
            shown = None if sys.stdout.isatty() else lambda d, t: bars("export", d, t)
            asyncio.run(exporting.run(shown, follow=follow))
    except MissingExtra as error:
        fail(str(error), BAD_CONFIG)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--store") from None
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            fail(f"cannot write: {error.strerror}", IO_ERROR)
        # Whoever read has read enough; keep Python from complaining at exit.
        sys.stdout = None
        sys.exit(_BROKEN_PIPE)

    if exporting.lost:
        fail(_words(exporting.lost), DAMAGED)


class _Exporting:
    """Writes what is selected; notes in `lost` the ranges of sequences that cannot be read."""

    def __init__(self, url: str, writer: Callable[[BinaryIO], Writer], wanted: Selection) -> None:
        self._url = url
        self._make_writer = writer
        self._wanted = wanted
        self._reached = wanted.after
        self._stop = asyncio.Event()
        self.lost: list[tuple[int, int]] = []

    async def run(self, progress: Passed | None, *, follow: bool) -> None:
        """Write what is there and, to *follow*, what comes in until a signal ends it."""
        if follow:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop.set)
        file = _identity(self._url)
        reader = await open_reader(self._url)
        try:
            self._writer = self._make_writer(sys.stdout.buffer)
            end = 0 if progress is None or follow else await _last(reader)
            await self._write(reader, progress if end else None, end)
            while follow and not self._ended:
                self._writer.flush()
                await self._pause()
                # After a rotation the former file has no more than what is read now.
                current = _identity(self._url)
                await self._write(reader, None, 0)
                if current and current != file:
                    await reader.close()
                    reader, file = await open_reader(self._url), current
        finally:
            await reader.close()
        self._writer.close()

    @property
    def _ended(self) -> bool:
        return self._stop.is_set() or self._wanted.limit == 0

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_POLL):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _write(self, reader: Reader, progress: Passed | None, end: int) -> None:
        """Write what *reader* has, and want what follows it from now on."""
        wanted = self._wanted
        written = 0
        async with aclosing(reader.read(wanted, self._skipped)) as records:
            async for sequence, record in records:
                try:
                    self._writer.write(sequence, record)
                except DAMAGES:
                    self._skipped(sequence, sequence)
                written += 1
                self._reached = max(self._reached, sequence)
                if progress is not None and written % _STEP == 0:
                    progress(min(sequence, end) - wanted.after, end - wanted.after)
                if self._stop.is_set():
                    break
        left = None if wanted.limit is None else wanted.limit - written
        self._wanted = replace(wanted, after=self._reached, limit=left)

    def _skipped(self, first: int, last: int) -> None:
        lost = self.lost
        self._reached = max(self._reached, last)
        lost.append((lost.pop()[0] if lost and lost[-1][1] == first - 1 else first, last))


def _identity(url: str) -> list[tuple[int, int]]:
    """What tells the file of a store from the one that takes its place; empty without a file."""
    found = [path.stat() for path in files_of(url)[:1] if path.exists()]
    return [(one.st_dev, one.st_ino) for one in found]


async def _last(reader: Reader) -> int:
    """About the last sequence; 0 if that is not known."""
    try:
        found = (await reader.search(Search(limit=1), _LAST_SECONDS)).found
    except StoreError:
        return 0
    return found[0][0] if found else 0


def _words(lost: list[tuple[int, int]]) -> str:
    count = sum(last - first + 1 for first, last in lost)
    ranges = [f"{first:,} to {last:,}" if first < last else f"{first:,}" for first, last in lost]
    more = f", and {len(ranges) - _LISTED} more ranges" if len(ranges) > _LISTED else ""
    return (
        f"the store is damaged: up to {count:,} events could not be read, of the sequences "
        f"{'; '.join(ranges[:_LISTED])}{more}. See gateway verify and gateway recover."
    )
