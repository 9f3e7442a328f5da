"""Every fault at once, for as long as one likes, and a report.

``make soak MINUTES=15``. Clients of every dialect send to a real gateway while it is
killed, stopped and restarted, its store locked, its disk full, failing, slow or hanging.
At the end every acknowledged event must be in the store exactly once. The exit status is
1 if not.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conftest import PROCESS_CONFIG, ROOT, Process
from tests.disk.building import compile_shim
from tests.disk.recording import Control
from tests.soak import clients
from tests.soak.faults import Trouble
from tests.soak.ledger import Ledger, Verdict
from tests.system.wire import eventually, metric

ORDINARY, SLOW, LEAVING = 24, 4, 4
_SHOWN = 5


def main() -> None:
    """Run the soak test and print its report."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    # It warns of each connection that a killed gateway has left.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    base = ROOT / ".bench"
    base.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="soak-", dir=base) as folder:
        raise SystemExit(run(Path(folder), options.minutes * 60, options.seed))


def run(folder: Path, seconds: float, seed: int) -> int:
    """Run for so long with the store in *folder*; return the exit status."""
    live = folder / "live"
    live.mkdir()
    process = Process(live, PROCESS_CONFIG)
    control = None
    if shim := compile_shim(folder):
        control = Control(folder / "control")
        process.fresh = True
        process.environment = {
            "LD_PRELOAD": str(shim),
            "SHIM_FOLDER": str(live),
            "SHIM_CONTROL": str(control.path),
        }
    trouble = Trouble(process, control, random.Random(seed))
    ledger = Ledger(trouble.clock)
    try:
        process.start()
        asyncio.run(_soak(process, ledger, trouble, seconds, seed))
        eventually(lambda: metric(process.ops_url, "gateway_spool_depth") == 0, 120)
        trouble.measure()
        stopped = process.stop()
    finally:
        process.kill_if_running()
    verdict = ledger.judge(_lines(process, "export"))
    verified = _command(process, "verify").returncode
    faults = [*ledger.unexpected, *(f"{name} is lost" for name in verdict.lost)]
    faults += [f"{name} is doubled" for name in verdict.doubled]
    faults += [f"{name} is altered" for name in verdict.altered]
    faults += [f"the gateway stopped with {stopped}"] if stopped else []
    faults += [f"gateway verify found faults: {verified}"] if verified else []
    print(report(ledger, trouble, verdict, seconds, seed, shim=control is not None))
    for fault in faults[:_SHOWN]:
        print(f"FAULT     {fault}")
    return 1 if faults else 0


async def _soak(
    process: Process, ledger: Ledger, trouble: Trouble, seconds: float, seed: int
) -> None:
    sorts = [clients.ordinary] * ORDINARY + [clients.slow] * SLOW + [clients.leaving] * LEAVING
    tasks = [
        asyncio.create_task(sort(lambda: process.url, ledger, random.Random(f"{seed} {number}")))
        for number, sort in enumerate(sorts)
    ]
    try:
        await trouble.go_on(seconds)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _command(process: Process, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *command, "--config", str(process.config)],
        cwd=process.folder,
        check=False,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _lines(process: Process, *command: str) -> Iterator[str]:
    """What a command prints, line by line."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", *command, "--config", str(process.config)],
        cwd=process.folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as running:
        assert running.stdout is not None
        yield from running.stdout
    if running.returncode:
        raise RuntimeError(f"gateway {' '.join(command)}: {running.returncode}")


def report(
    ledger: Ledger, trouble: Trouble, verdict: Verdict, seconds: float, seed: int, *, shim: bool
) -> str:
    """The figures, one a line."""
    answers = ", ".join(f"{count:,} {status}" for status, count in sorted(ledger.answers.items()))
    harms = ", ".join(f"{name} {count}" for name, count in sorted(trouble.done.items()))
    rows: Sequence[tuple[str, str]] = (
        ("minutes", f"{seconds / 60:g}, seed {seed}"),
        ("faults", harms + ("" if shim else "; none of the disk: no C compiler")),
        ("requests", f"{ledger.requests:,}; answers: {answers}; {ledger.unanswered:,} without one"),
        ("sent", f"{verdict.sent:,} events"),
        ("acked", f"{verdict.acknowledged:,}"),
        ("stored", f"{verdict.stored:,}"),
        ("lost", f"{len(verdict.lost)}"),
        ("doubled", f"{len(verdict.doubled)}"),
        ("altered", f"{len(verdict.altered)}"),
        ("longest", f"{ledger.longest:.2f} s for an answer, while the process was not stopped"),
        ("memory", f"{trouble.peak:.0f} MiB at most"),
    )
    return "\n".join(f"{name:<9} {text}" for name, text in rows)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
