"""What is left of the gateway's service while clients send more than it can take.

``python -m benchmarks.overload`` first finds the peak: what clients get through that send the
next request when the last is answered. Then an open-loop client sends batches at ten times
that rate and single events at twice that rate. At last a tenant sends batches without pause
beside another one that sends an event now and then.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import machine
from benchmarks.gateway import Server, running, this_checkout
from benchmarks.load import Load, drive
from benchmarks.machine import cpu_seconds, on_client_core, peak_memory
from benchmarks.openloop import Plan, Told
from benchmarks.rows import ROWS
from benchmarks.table import aligned

CONNECTIONS = 4000
"""Connections of the open-loop client."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the benchmark, the connections that reach its peak, and how much more is sent."""

    row: str
    connections: int
    times: float


CASES = (Case("batch-8", 32, 10), Case("single-256", 256, 2))


@dataclass(frozen=True, slots=True)
class Offered:
    """What came of a rate: answers a second, the server's CPU seconds, and what clients saw."""

    accepted: float
    refused: float
    cpu: float
    seconds: float
    told: Told


def offer(load: Load, server: Server, rate: float, seconds: float, folder: Path) -> Offered:
    """Send *load* to *server*, *rate* requests a second, and measure for *seconds*."""
    plan = Plan(
        port=urlsplit(server.url).port or 80,
        request=load.request().decode("latin-1"),
        rate=rate,
        connections=load.connections,
        warm=2.0,
        seconds=seconds,
    )
    file = folder / f"plan-{load.connections}.json"
    file.write_text(json.dumps(asdict(plan)))
    command = on_client_core([sys.executable, "-m", "benchmarks.openloop", str(file)])
    with subprocess.Popen(command, cwd=machine.ROOT, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        client.stdout.readline()
        before, started = cpu_seconds(server.pid), time.perf_counter()
        said = client.stdout.readline()
        cpu, took = cpu_seconds(server.pid) - before, time.perf_counter() - started
    told = Told(**json.loads(said))
    accepted = sum(count for status, count in told.statuses.items() if status < "300")
    refused = told.statuses.get("503", 0) + told.statuses.get("429", 0)
    return Offered(accepted / took, refused / took, cpu, took, told)


def _overloaded(case: Case, options: argparse.Namespace) -> list[str]:
    load = next(row for row in ROWS if row.name == case.row).load()
    many = replace(load, connections=CONNECTIONS)
    with machine.scratch() as folder, running(folder, this_checkout(), options.options) as server:
        server.await_rest()
        at_peak = replace(load, connections=case.connections)
        peak = drive(at_peak, server.url, server.pid, options.seconds, folder)
        rate = peak.rate / load.events
        over = offer(many, server, rate * case.times, options.seconds, folder)
        memory = peak_memory(server.pid)
    cost = peak.cpu * load.events
    used = over.cpu / over.seconds * 1e6
    refusal = (used - over.accepted * cost) / max(over.refused, 1)
    return [
        case.row,
        f"{rate:,.0f}",
        f"{rate * case.times:,.0f}",
        f"{over.accepted + over.refused:,.0f}",
        f"{over.accepted / rate:.2f}",
        f"{over.accepted * cost / used:.2f}",
        f"{cost:,.0f}",
        f"{refusal:.1f}",
        f"{refusal / cost:.2%}",
        f"{peak.p99:.1f}",
        f"{over.told.p99:.1f}",
        f"{over.told.p99 / peak.p99:.1f}",
        f"{memory:.0f}",
        f"{over.told.late}/{over.told.broken}/{len(peak.faults)}",
    ]


_HEADER = (
    *("", "peak/s", "offered/s", "answered/s", "goodput", "by CPU", "us/accepted", "us/refusal"),
    *("ratio", "p99 ms at peak", "p99 ms", "ratio", "peak MiB", "late/broken/faults"),
)


def _beside(options: argparse.Namespace) -> str:
    """What an event of a quiet tenant takes alone, and beside a tenant at full rate."""
    noisy = next(row for row in ROWS if row.name == "logspace-8").load()
    quiet = replace(next(row for row in ROWS if row.name == "single-1").load(), connections=20)
    with machine.scratch() as folder, running(folder, this_checkout(), options.options) as server:
        server.await_rest()
        alone = offer(quiet, server, 50, options.seconds, folder)
        script = ["-t", "1", "-c", "64", "-d", "100s", "-s", str(folder / "load.lua"), server.url]
        drive(replace(noisy, connections=64), server.url, server.pid, 1, folder)
        with subprocess.Popen(on_client_core(["wrk", *script]), stdout=subprocess.DEVNULL) as wrk:
            try:
                beside = offer(quiet, server, 50, options.seconds, folder)
            finally:
                wrk.kill()
    one, other = alone.told, beside.told
    return (
        f"A quiet tenant's event takes {one.p50:.1f} ms alone (p99 {one.p99:.1f}), and "
        f"{other.p50:.1f} ms (p99 {other.p99:.1f}) beside 64 connections of another tenant: "
        f"{other.p99 / one.p99:.1f} times. Answers: {other.statuses}."
    )


def main() -> int:
    """Print the table; 2 when the machine is unfit."""
    options = _options()
    try:
        machine.check(4 << 30)
    except machine.Unfit as error:
        print(error, file=sys.stderr)
        return 2
    print(machine.describe(), flush=True)
    cases: Sequence[Case] = [one for one in CASES if not options.only or one.row in options.only]
    if cases:
        rows = [_overloaded(case, options) for case in cases]
        print(aligned(_HEADER, rows), flush=True)
    if not options.only or "quiet" in options.only:
        print(_beside(options))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    add = parser.add_argument
    names = [*(case.row for case in CASES), "quiet"]
    add("--only", action="append", choices=names, metavar="CASE", help=", ".join(names))
    add("--seconds", type=float, default=8.0, metavar="S", help="how long each load lasts; 8")
    add("--options", default="", metavar="TOML", help="more configuration, [limits] for example")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
