"""The machine under the benchmark: its cores, its disk, its clocks, its tools."""

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".bench"
"""Where stores are made; ignored by git, on the disk of the checkout."""

_CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
CORES = (_CORES[0], _CORES[-1]) if len(_CORES) > 1 and shutil.which("taskset") else None
"""The core of the load generator, and the one that servers and floors use in turn."""


class Unfit(SystemExit):
    """The machine cannot run the benchmark; the message says what to do about it."""


def on_client_core(command: Sequence[str]) -> list[str]:
    """*command*, pinned to the core of the load generator."""
    return [*command] if CORES is None else ["taskset", "-c", str(CORES[0]), *command]


def on_server_core(command: Sequence[str]) -> list[str]:
    """*command*, pinned to the core of the servers."""
    return [*command] if CORES is None else ["taskset", "-c", str(CORES[1]), *command]


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all its threads together."""
    # The command's name, in brackets, may hold anything; fields are counted from its end.
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, which: str = "VmHWM") -> float:
    """The most memory that a process has used until now, in MiB; as ``VmRSS`` what it uses now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{which}:"))


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder on the disk of the checkout, deleted afterwards."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=FOLDER) as folder:
        yield Path(folder)


def check(bytes_needed: int = 4 << 30) -> None:
    """Print what a reader must know of this machine, if the benchmark can run here.

    Raises:
        Unfit: something is missing.
    """
    if sys.platform != "linux":
        raise Unfit("The benchmark reads /proc and needs Linux, e.g. in a container.")
    FOLDER.mkdir(exist_ok=True)
    find = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(FOLDER)]
    filesystem = subprocess.check_output(find, text=True).strip()
    if filesystem in ("tmpfs", "ramfs"):
        raise Unfit(f"{FOLDER} is in memory, where an fsync costs nothing: check out on a disk.")
    if (free := shutil.disk_usage(FOLDER).free) < bytes_needed:
        raise Unfit(f"{FOLDER} has {free >> 20} MiB to spare; {bytes_needed >> 20} are needed.")
    if shutil.which("wrk") is None:
        raise Unfit("wrk, the load generator, is missing: apt-get install wrk.")
    names = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in names if "model name" in line), "unknown")
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    pinned = f"wrk on core {CORES[0]}, servers on core {CORES[1]}" if CORES else "nothing is pinned"
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"machine   {os.cpu_count()} cores, {model}, {size} GiB; {pinned}\n"
        f"system    Linux {platform.release()}, SQLite {sqlite3.sqlite_version}, "
        f"store on {filesystem}; load before the run {load}",
        flush=True,
    )
