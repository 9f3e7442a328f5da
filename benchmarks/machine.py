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


class Unfit(Exception):
    """The machine cannot run the benchmark; the message says what to do about it."""


def _cores() -> tuple[int, int] | None:
    """The client's core and the server's, where there are two and a way to pin to them."""
    if sys.platform != "linux" or shutil.which("taskset") is None:
        return None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[-1]) if len(cores) > 1 else None


CORES = _cores()


def on_client_core(command: Sequence[str]) -> list[str]:
    """*command*, pinned to the core of the load generator."""
    return [*command] if CORES is None else ["taskset", "-c", str(CORES[0]), *command]


def on_server_core(command: Sequence[str]) -> list[str]:
    """*command*, pinned to the core that floors and gateway use in turn."""
    return [*command] if CORES is None else ["taskset", "-c", str(CORES[1]), *command]


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all its threads together."""
    # The command's name, in brackets, may hold anything; fields are counted from its end.
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> float:
    """The most memory that a process has used until now, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def resident_memory(pid: int) -> float:
    """The memory that a process uses now, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder on the disk of the checkout, deleted afterwards."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=FOLDER) as folder:
        yield Path(folder)


def check(bytes_needed: int) -> None:
    """Return if the benchmark can run here.

    Raises:
        Unfit: something is missing.
    """
    if sys.platform != "linux":
        raise Unfit("The benchmark reads /proc and needs Linux, e.g. in a container.")
    FOLDER.mkdir(exist_ok=True)
    if _filesystem() in ("tmpfs", "ramfs"):
        raise Unfit(f"{FOLDER} is in memory, where an fsync costs nothing: check out on a disk.")
    if (free := shutil.disk_usage(FOLDER).free) < bytes_needed:
        raise Unfit(f"{FOLDER} has {free >> 20} MiB to spare; {bytes_needed >> 20} are needed.")
    if shutil.which("wrk") is None:
        raise Unfit("wrk, the load generator, is missing: apt-get install wrk.")


def _filesystem() -> str:
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(FOLDER)]
    return subprocess.check_output(command, text=True).strip()


def describe() -> str:
    """What a reader must know of this machine to compare its figures with others."""
    names = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in names if "model name" in line), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    pinned = f"wrk on core {CORES[0]}, servers on core {CORES[1]}" if CORES else "nothing is pinned"
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"machine   {os.cpu_count()} cores, {model}, {memory} GiB; {pinned}\n"
        f"system    Linux {platform.release()}, SQLite {sqlite3.sqlite_version}, "
        f"store on {_filesystem()}; load before the run {load}"
    )
