"""The machine under the benchmark: its cores, its disk, its versions, its tools."""

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".bench"
"""Where stores are made; ignored by git, on whatever disk the checkout is."""


class Unfit(Exception):
    """The machine cannot run the benchmark; the message says what to do about it."""


def _cores() -> tuple[int, int] | None:
    """The client's core and the server's, where there are two and a way to pin to them."""
    if sys.platform != "linux" or shutil.which("taskset") is None:
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    return cores[0], cores[-1]


CORES = _cores()


def on_client_core(command: Sequence[str]) -> list[str]:
    """*command*, pinned to the core of the load generator."""
    return [*command] if CORES is None else ["taskset", "-c", str(CORES[0]), *command]


def on_server_core(command: Sequence[str]) -> list[str]:
    """*command*, pinned to the core that floors and gateway share, one after the other."""
    return [*command] if CORES is None else ["taskset", "-c", str(CORES[1]), *command]


_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all its threads together."""
    # The command's name, in brackets, may hold anything; the times are counted from its end.
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / _TICKS


def need_linux() -> None:
    """Return where there is a /proc that tells what a process has used.

    Raises:
        Unfit: this is no Linux.
    """
    if sys.platform != "linux":
        raise Unfit("The benchmark reads /proc and needs Linux, e.g. in a container.")


def need_wrk() -> None:
    """Return once wrk can be run; root gets it installed.

    Raises:
        Unfit: it is not there and cannot be installed from here.
    """
    if shutil.which("wrk"):
        return
    hint = "wrk, the load generator, is missing: apt-get install wrk."
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unfit(hint)
    print("Installing wrk ...", flush=True)
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "wrk"]):
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if shutil.which("wrk") is None:
        raise Unfit(f"{hint} apt-get could not install it.")


def filesystem(path: Path) -> str:
    """The type of the filesystem that holds *path*, as the kernel names it."""
    best, kind = "", "unknown"
    resolved = path.resolve()
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        # Of two mounts on one point the later one is seen.
        if resolved.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def need_disk(path: Path, wanted: int) -> None:
    """Return if *path* has *wanted* bytes to spare on a disk that is one.

    Raises:
        Unfit: it has not, or an fsync there would mean nothing.
    """
    if filesystem(path) in ("tmpfs", "ramfs"):
        raise Unfit(f"{path} is in memory, where an fsync costs nothing: check out on a disk.")
    free = shutil.disk_usage(path).free
    if free < wanted:
        raise Unfit(f"{path} has {free >> 20} MiB to spare; {wanted >> 20} are needed.")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe() -> str:
    """What a reader must know of this machine to compare its figures with others."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    pinned = (
        "one core for everything"
        if CORES is None
        else f"wrk on core {CORES[0]}, servers on core {CORES[1]}"
    )
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    lines = (
        f"machine   {os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB; {pinned}",
        f"kernel    {platform.release()}; load before the run {load}",
        f"software  Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"aiohttp {version('aiohttp')}, msgspec {version('msgspec')}",
        f"store     {filesystem(FOLDER)} at {FOLDER}",
    )
    return "\n".join(lines)
