"""What is left of the gateway's service while clients send more than it can take.

``python -m benchmarks.overload`` first finds the peak: what clients get through that send the
next request when the last is answered. Then an open-loop client sends batches at ten times
that rate and single events at twice that rate, and after that to a gateway that lets none of them
in: so what a refusal costs is measured alone. At last a tenant sends batches without pause beside
another one that sends an event now and then.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, replace
from urllib.parse import urlsplit

from benchmarks import machine
from benchmarks.gateway import Checkout, Server, running, this_checkout
from benchmarks.load import Load, drive, flood
from benchmarks.openloop import Plan, Told
from benchmarks.rows import logspace, row, single
from benchmarks.table import aligned

CONNECTIONS = 4000
"""Connections of the open-loop client."""

NONE = "limits.tenant_requests = {rate = 1, burst = 1}\n"
"""A configuration that refuses all but a request a second."""

CASES = {"batch-8": (16, 10), "single-256": (256, 2)}
"""For each row the connections that reach its peak, and how many times as much is sent."""

_HEADER = (
    *("", "peak/s", "offered/s", "answered/s", "goodput", "by CPU", "us/accepted", "us/refusal"),
    *("ratio", "p99 ms at peak", "p99 ms", "ratio", "peak MiB", "late/broken/faults"),
)


def _offer(load: Load, server: Server, rate: float, seconds: float) -> Told:
    """Send *load* to *server*, *rate* requests a second, and measure for *seconds*."""
    port, request = urlsplit(server.url).port or 80, load.request().decode("latin-1")
    plan = Plan(port, server.pid, request, rate, load.connections, seconds)
    done = subprocess.run(
        machine.on_client_core([sys.executable, "-m", "benchmarks.openloop"]),
        input=json.dumps(asdict(plan)),
        cwd=machine.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Told(**json.loads(done.stdout))


def _overloaded(checkout: Checkout, name: str, seconds: float, options: str) -> list[str]:
    load, (connections, times) = row(name).load(), CASES[name]
    with machine.scratch() as folder, running(folder, checkout, options) as server:
        server.await_rest()
        at_peak = replace(load, connections=connections)
        peak = drive(at_peak, server.url, server.pid, seconds, folder)
        rate = peak.rate / load.events
        many = replace(load, connections=CONNECTIONS)
        over = _offer(many, server, rate * times, seconds)
        memory = machine.memory(server.pid)
    with machine.scratch() as folder, running(folder, checkout, NONE) as server:
        server.await_rest()
        none = _offer(many, server, rate * times, seconds)
    cost, used = peak.cpu * load.events, over.cpu * 1e6
    refusal = none.cpu * 1e6 / max(none.refused, 1)
    return [
        name,
        f"{rate:,.0f}",
        f"{rate * times:,.0f}",
        f"{over.accepted + over.refused:,.0f}",
        f"{over.accepted / rate:.2f}",
        f"{over.accepted * cost / used:.2f}",
        f"{cost:,.0f}",
        f"{refusal:.1f}",
        f"{refusal / cost:.2%}",
        f"{peak.p99:.1f}",
        f"{over.p99:.1f}",
        f"{over.p99 / peak.p99:.1f}",
        f"{memory:.0f}",
        f"{over.late}/{over.broken}/{len(peak.faults)}",
    ]


def _beside(checkout: Checkout, seconds: float, options: str) -> str:
    """What an event of a quiet tenant takes alone, and beside a tenant at full rate."""
    quiet, noisy = single(20), replace(logspace(), connections=64)
    with machine.scratch() as folder, running(folder, checkout, options) as server:
        server.await_rest()
        alone = _offer(quiet, server, 50, seconds)
        with flood(server.url, noisy.connections, noisy.script(folder)):
            beside = _offer(quiet, server, 50, seconds)
    return (
        f"A quiet tenant's event takes {alone.p50:.1f} ms alone (p99 {alone.p99:.1f}), and "
        f"{beside.p50:.1f} ms (p99 {beside.p99:.1f}) beside 64 connections of another tenant: "
        f"{beside.p99 / alone.p99:.1f} times. Answers: {beside.statuses}."
    )


def main() -> None:
    """Print the table, and a line about a quiet tenant."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    add, names = parser.add_argument, [*CASES, "quiet"]
    add("--only", action="append", choices=names, metavar="CASE", help=", ".join(names))
    add("--seconds", type=float, default=8.0, metavar="S", help="how long each load lasts; 8")
    add("--options", default="", metavar="TOML", help="more configuration, [limits] for example")
    options = parser.parse_args()
    machine.check()
    wanted, how = options.only or names, (options.seconds, options.options)
    checkout = this_checkout()
    if rows := [_overloaded(checkout, name, *how) for name in CASES if name in wanted]:
        print(aligned(_HEADER, rows), flush=True)
    if "quiet" in wanted:
        print(_beside(checkout, *how))


if __name__ == "__main__":
    main()
