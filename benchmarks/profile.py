"""Where the gateway's time goes: py-spy beside it under one of the loads.

``python -m benchmarks.profile batch-8`` prints the hottest frames of the loop's
thread and of the store's, by their own time and with what they call.
"""

import argparse
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from benchmarks import machine
from benchmarks.load import drive
from benchmarks.rows import ROWS
from benchmarks.scratch import scratch
from benchmarks.server import Server
from benchmarks.table import aligned

_RATE = 500
"""Samples a second."""


def _py_spy() -> str:
    """The path of py-spy, put beside this Python where it is missing.

    Raises:
        Unfit: it cannot be had.
    """
    beside = Path(sys.executable).parent / "py-spy"
    found = shutil.which("py-spy") or (str(beside) if beside.exists() else None)
    if found:
        return found
    print("Installing py-spy ...", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "py-spy"], check=False)
    if done.returncode or not beside.exists():
        raise machine.Unfit("py-spy, the profiler, could not be installed: pip install py-spy.")
    return str(beside)


def record(command: str, pid: int, seconds: float, file: Path, *, native: bool) -> None:
    """Write the stacks of process *pid* over *seconds* to *file*, one a line with its count.

    Raises:
        Unfit: py-spy was not allowed to look, or found nothing.
    """
    options = ["--rate", str(_RATE), "--duration", str(max(round(seconds), 1)), "--threads"]
    wanted = ["--format", "raw", "--output", str(file), "--pid", str(pid), "--nonblocking"]
    extra = ["--native"] if native else []
    if native:
        # C frames can only be read while the process stands still.
        wanted.remove("--nonblocking")
    done = subprocess.run(
        machine.on_client_core([command, "record", *options, *wanted, *extra]),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode or not file.exists():
        raise machine.Unfit(
            f"py-spy could not look into the gateway: {done.stderr.strip()[-500:]}\n"
            "It needs to be root, or /proc/sys/kernel/yama/ptrace_scope to be 0."
        )


def hottest(stacks: str, count: int) -> str:
    """A table of the *count* frames with the most time of their own."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in stacks.splitlines():
        stack, _, text = line.rpartition(" ")
        frames, samples = stack.split(";"), int(text)
        total += samples
        own[frames[-1]] += samples
        for frame in set(frames):
            within[frame] += samples
    if not total:
        return "Nothing was seen to run."
    rows = [
        (frame, f"{samples / total:.1%}", f"{within[frame] / total:.1%}", "")
        for frame, samples in own.most_common(count)
    ]
    return aligned(("frame", "own", "with callees", ""), rows)


def main() -> int:
    """Profile one row; 2 when the machine cannot do it."""
    options = _options()
    row = next(row for row in ROWS if row.name == options.row)
    try:
        machine.need_linux()
        machine.need_wrk()
        command = _py_spy()
        with scratch() as folder, Server(folder) as server:
            load = threading.Thread(
                target=drive, args=(row.load(), server.url, options.seconds + 1, folder)
            )
            load.start()
            stacks = options.output or folder / "stacks.txt"
            try:
                record(command, server.pid, options.seconds, stacks, native=options.native)
            finally:
                load.join()
            print(f"{row.title}; {options.seconds:g} s at {_RATE} samples a second\n")
            print(hottest(stacks.read_text(), options.frames))
    except machine.Unfit as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    add = parser.add_argument
    add("row", choices=[row.name for row in ROWS], metavar="ROW", help="as of python -m benchmarks")
    add("--seconds", type=float, default=5.0, metavar="S", help="how long to look")
    add("--frames", type=int, default=40, metavar="N", help="how many frames to print")
    add("--native", action="store_true", help="show the frames of C code too; slower")
    add("--output", type=Path, metavar="FILE", help="keep the stacks, e.g. for a flame graph")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
