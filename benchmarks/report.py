"""The report: tables of what a run measured, and the same as JSON."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.floors import Bare
from benchmarks.memory import EVENTS, Weight
from benchmarks.rows import Result, Row
from benchmarks.table import aligned, middle, most, spread


@dataclass(slots=True)
class Line:
    """A row's measurements, round by round: its floors, or the store to compare with, and it."""

    row: Row
    bare: list[Bare] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    gateway: list[Result] = field(default_factory=list)
    full: list[Result] = field(default_factory=list)
    """The same on the store that was full before; empty for rows that have none."""

    @property
    def results(self) -> list[Result]:
        """Every measurement of the gateway."""
        return [*self.gateway, *self.full]

    @property
    def faults(self) -> list[str]:
        """What was not as it should be, each once."""
        said = [fault for one in self.bare for fault in one.figures.faults]
        said += [fault for one in self.results for fault in one.faults]
        return list(dict.fromkeys(said))


def rates(lines: Sequence[Line]) -> str:
    """Events a second beside the floors.

    "by CPU" is the ratio of CPU time, a bare request's over an event's: it says
    what "x bare" would be if nobody else used the server's core.
    """
    header = (
        "",
        "bare req/s",
        "disk rows/s",
        "events/s",
        "x bare",
        "by CPU",
        "x disk",
        "checked",
        "",
    )
    rows = []
    for line in lines:
        events = [one.events for one in line.gateway]
        bare = [one.figures.rate for one in line.bare]
        each = [one.per_event(one.cost.cpu) or 0.0 for one in line.gateway]
        rows.append(
            (
                line.row.name,
                spread(bare),
                spread(line.disk),
                spread(events),
                spread(_ratios(events, bare), ".2f"),
                middle(_ratios([one.cpu for one in line.bare], each), ".2f"),
                spread(_ratios(events, line.disk), ".2f"),
                *_checked(line),
            )
        )
    return aligned(header, rows)


def full(lines: Sequence[Line]) -> str:
    """Events a second of a full store beside those of an empty one."""
    header = (
        *("", "events before", "at rest after s"),
        *("empty events/s", "full events/s", "full/empty", "checked", ""),
    )
    rows = []
    for line in lines:
        empty = [one.events for one in line.gateway]
        filled = [one.events for one in line.full]
        rows.append(
            (
                line.row.name,
                middle([one.before for one in line.full]),
                most([one.rest for one in line.full], ".1f"),
                spread(empty),
                spread(filled),
                spread(_ratios(filled, empty), ".2f"),
                *_checked(line),
            )
        )
    return aligned(header, rows)


def _ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(over, under, strict=True) if b]


def _checked(line: Line) -> tuple[str, str]:
    faults = line.faults
    return ("NO" if faults else "yes"), "; ".join(faults) or line.row.title


_COSTS = (
    *("p50 ms", "p99 ms", "max ms", "CPU s/1k", "peak MiB", "bytes/event"),
    *("fsync/s", "events/fsync", "lag ms", "wrk CPU"),
)


def costs(lines: Sequence[Line]) -> str:
    """Latencies and what an event took."""
    header = ("", *_COSTS, "")
    rows = []
    for line in lines:
        kinds: tuple[tuple[str, Sequence[Result]], ...] = (("", line.gateway),)
        if line.full:
            kinds = ((" empty", line.gateway), (" full", line.full))
        rows += [(line.row.name + kind, *_cost(results), "") for kind, results in kinds]
    return aligned(header, rows)


def _cost(results: Sequence[Result]) -> tuple[str, ...]:
    def each(read: Callable[[Result], float | None]) -> list[float | None]:
        return [read(one) for one in results]

    return (
        middle(each(lambda one: one.figures.p50), ".1f"),
        middle(each(lambda one: one.figures.p99), ".1f"),
        most(each(lambda one: one.figures.worst), ".1f"),
        middle(each(lambda one: one.per_event(one.cost.cpu * 1000)), ".4f"),
        most(each(lambda one: one.cost.peak)),
        middle(each(lambda one: one.per_event(one.cost.written))),
        middle(each(lambda one: one.cost.commits / one.figures.seconds)),
        middle(each(lambda one: one.acknowledged / max(one.cost.commits, 1))),
        most(each(lambda one: one.cost.lag), ".1f"),
        most(each(lambda one: one.figures.busy), ".0%"),
    )


def weights(results: Sequence[Weight]) -> str:
    """What one large batch took."""
    header = ("", "beyond idle MiB", "answer ms", "longest wait ms", "idle wait ms", "lag ms", "")
    faults = list(dict.fromkeys(fault for one in results for fault in one.faults))
    title = f"a batch of {results[0].size:.1f} MiB, {EVENTS:,} events"
    row = (
        "memory",
        spread([one.extra for one in results]),
        spread([one.answer for one in results]),
        spread([one.stall for one in results], ".1f"),
        most([one.calm for one in results], ".1f"),
        most([one.lag for one in results], ".1f"),
        f"NO: {'; '.join(faults)}" if faults else title,
    )
    return aligned(header, [row])


def write_json(path: Path, machine: str, lines: Sequence[Line], memory: Sequence[Weight]) -> None:
    """Write every single measurement to *path*."""

    def plain(line: Line) -> dict[str, object]:
        return {
            "row": line.row.name,
            "bare": [dataclasses.asdict(one) for one in line.bare],
            "disk": line.disk,
            "gateway": [dataclasses.asdict(one) for one in line.gateway],
            "full": [dataclasses.asdict(one) for one in line.full],
        }

    document = {
        "machine": machine.splitlines(),
        "rows": [plain(line) for line in lines],
        "memory": [dataclasses.asdict(one) for one in memory],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
