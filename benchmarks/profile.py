"""Where the gateway's time goes: py-spy beside it under one of the loads.

``python -m benchmarks.profile batch-8`` prints the hottest frames of the loop's
thread and of the store's, by their own time and with what they call. ``--native``
has perf name the functions of C code instead: SQLite's, Python's, the kernel's.
"""

import argparse
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import big_store, machine
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


def record(command: str, pid: int, seconds: float, file: Path) -> None:
    """Write the stacks of process *pid* over *seconds* to *file*, one a line with its count.

    Raises:
        Unfit: py-spy was not allowed to look, or found nothing.
    """
    options = ["--rate", str(_RATE), "--duration", str(max(round(seconds), 1)), "--nonblocking"]
    wanted = ["--format", "raw", "--output", str(file), "--pid", str(pid)]
    done = _quietly([command, "record", *options, *wanted])
    if done.returncode or not file.exists():
        raise machine.Unfit(
            f"py-spy could not look into the gateway: {done.stderr.strip()[-500:]}\n"
            "It needs to be root, or /proc/sys/kernel/yama/ptrace_scope to be 0."
        )


def record_native(pid: int, seconds: float, file: Path, count: int) -> str:
    """A table of the *count* hottest functions of C code, by perf, and the time they took.

    Raises:
        Unfit: there is no perf here, or it was not allowed to look.
    """
    if shutil.which("perf") is None:
        raise machine.Unfit("perf, the profiler of C code, is missing: apt-get install linux-perf.")
    options = ["-e", "cpu-clock", "-F", str(_RATE), "-p", str(pid), "-o", str(file)]
    done = _quietly(["perf", "record", *options, "--", "sleep", f"{seconds:g}"])
    if done.returncode:
        raise machine.Unfit(f"perf could not look into the gateway: {done.stderr.strip()[-500:]}")
    sorted_by = ["--sort", "comm,dso,symbol", "--no-children", "--percent-limit", "0.3"]
    told = _quietly(["perf", "report", "--stdio", "-i", str(file), *sorted_by]).stdout
    # perf ends each line with columns that it has no words for.
    lines = [line.rstrip(" -") for line in told.splitlines() if line.strip() and line[0] != "#"]
    return "\n".join(lines[:count])


def _quietly(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        machine.on_client_core(command), check=False, capture_output=True, text=True
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


@contextmanager
def _server(folder: Path, *, full: bool) -> Iterator[Server]:
    if full:
        big_store.working_copy(folder)
    with Server(folder) as server:
        server.await_rest()
        yield server


def main() -> int:
    """Profile one row; 2 when the machine cannot do it."""
    options = _options()
    row = next(row for row in ROWS if row.name == options.row)
    try:
        machine.need_linux()
        machine.need_wrk()
        command = "" if options.native else _py_spy()
        with scratch() as folder, _server(folder, full=options.full) as server:
            load = threading.Thread(
                target=drive, args=(row.load(), server.url, options.seconds + 1, folder)
            )
            load.start()
            file = options.output or folder / "samples"
            try:
                if options.native:
                    told = record_native(server.pid, options.seconds, file, options.frames)
                else:
                    record(command, server.pid, options.seconds, file)
                    told = hottest(file.read_text(), options.frames)
            finally:
                load.join()
            print(f"{row.title}; {options.seconds:g} s at {_RATE} samples a second\n\n{told}")
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
    add("--full", action="store_true", help="on a store that holds ten million events")
    add("--native", action="store_true", help="show C functions instead, by perf")
    add(
        "--output", type=Path, metavar="FILE", help="keep the samples there, e.g. for a flame graph"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
