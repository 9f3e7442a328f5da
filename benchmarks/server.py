"""The gateway under load: the real ``gateway serve``, and what it and the kernel report."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.machine import ROOT, Unfit, cpu_seconds, on_server_core

APPLICATION = "acme-" + "0123456789" * 6

_CONFIG = f"""
[server]
listen = "%s"
[ops]
listen = "%s"
[[moesif.applications]]
tenant = "acme"
ids = ["{APPLICATION}"]
[[logspace.spaces]]
tenant = "development"
tokens = ["development"]
[[device.tenants]]
tenant = "T1"
devices = ["D1"]
[[device.keys]]
key = "K1"
tenants = ["T1"]
"""

_ASK = """
import gateway, json, platform
from importlib.metadata import distributions
known = {one.name.lower(): one.version for one in distributions()}
loop = "uvloop " + known["uvloop"] if "uvloop" in known else "asyncio's loop"
told = f"Python {platform.python_version()}, aiohttp {known['aiohttp']}, {loop}"
print(json.dumps([gateway.__file__, told]))
"""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout of the project and the command of the environment that runs it."""

    folder: Path
    command: Sequence[str]
    description: str

    @classmethod
    def at(cls, folder: Path, python: Path) -> Self:
        """The checkout in *folder*, run by *python*, in whose environment it is installed.

        Raises:
            Unfit: it is not installed there.
        """
        try:
            asked = subprocess.run(
                [python, "-c", _ASK], cwd="/", env=_clean(), capture_output=True, check=True
            )
            file, told = json.loads(asked.stdout)
        except (OSError, subprocess.CalledProcessError):
            raise Unfit(f"{python} cannot import the gateway: make -C {folder} .venv/dev") from None
        if not Path(file).resolve().is_relative_to(folder.resolve()):
            raise Unfit(f"{python} runs {file}, which is not in {folder}.")
        git = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
        # Named through its interpreter, so that a copied environment cannot start another one's.
        command = (str(python), str(python.with_name("gateway")))
        return cls(folder, command, f"{commit or 'no commit'}, {told}, in {folder}")


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def this_checkout() -> Checkout:
    """The checkout that this benchmark is part of."""
    return Checkout.at(ROOT, Path(sys.executable))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process has used: seconds of CPU, peak memory in MiB, bytes written, commits.

    `duplicates` are events that were stored before. `lag` is the bound, in milliseconds,
    below which the loop's lag has always been.
    """

    cpu: float
    peak: float
    written: int
    commits: int
    duplicates: int
    lag: float

    def since(self, before: "Cost") -> "Cost":
        """What was used after *before*; peaks stay as they are."""
        return replace(
            self,
            cpu=self.cpu - before.cpu,
            written=self.written - before.written,
            commits=self.commits - before.commits,
            duplicates=self.duplicates - before.duplicates,
        )


class Server:
    """A gateway process on ports of its own, with its store in *folder*."""

    def __init__(self, folder: Path, checkout: Checkout | None = None) -> None:
        self._folder = folder
        self._checkout = checkout or this_checkout()
        self._addresses = [f"127.0.0.1:{port}" for port in _free_ports(2)]
        self.url, self.ops_url = (f"http://{one}" for one in self._addresses)

    def __enter__(self) -> Self:
        config, log = self._folder / "config.toml", self._folder / "gateway.log"
        config.write_text(_CONFIG % tuple(self._addresses))
        command = [*self._checkout.command, "serve", "--config", str(config)]
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                on_server_core(command), cwd=self._folder, stderr=stderr, env=_clean()
            )
        deadline = time.monotonic() + 60
        while not all(map(_answers, self._addresses)):
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.__exit__(None, None, None)
                raise RuntimeError(f"The gateway did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The gateway's own process id: taskset replaces itself by what it runs."""
        return self._process.pid

    def await_rest(self, longest: float = 60.0) -> None:
        """Wait until the process is idle: a store that holds events still reads after its start."""
        used, rested = cpu_seconds(self.pid), 0
        deadline = time.monotonic() + longest
        while rested < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            now = cpu_seconds(self.pid)
            rested = rested + 1 if now - used <= 0.01 else 0
            used = now

    def cost(self) -> Cost:
        """What the process has used until now."""
        totals, lag = self._metrics()
        return Cost(
            cpu=cpu_seconds(self.pid),
            peak=int(self._proc("status", "VmHWM").split()[0]) / 1024,
            written=int(self._proc("io", "write_bytes")),
            commits=int(totals["gateway_commit_seconds_count"]),
            duplicates=int(totals["gateway_duplicate_total"]),
            lag=lag,
        )

    def _proc(self, file: str, name: str) -> str:
        lines = Path(f"/proc/{self.pid}/{file}").read_text().splitlines()
        return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))

    def _metrics(self) -> tuple[Mapping[str, float], float]:
        """The sum of each metric over its labels, and the bound of the loop's lag."""
        with urllib.request.urlopen(f"{self.ops_url}/metrics", timeout=30) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        totals: defaultdict[str, float] = defaultdict(float)
        below: dict[float, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            totals[sample.name] += sample.value
            if sample.name == "gateway_loop_lag_seconds_bucket":
                below[float(sample.labels["le"]) * 1000] = sample.value
        most = max(below.values(), default=0)
        return totals, min((bound for bound, count in below.items() if count == most), default=0)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
        return True
    return False


def last_sequence(store: Path) -> int:
    """The sequence of the newest event in *store*, or 0 where there is none."""
    return _query(store, "SELECT coalesce(max(seq), 0) FROM event") if store.exists() else 0


def stored_after(store: Path, sequence: int) -> int:
    """How many events *store* holds that came after *sequence*."""
    return _query(store, "SELECT count(*) FROM event WHERE seq > ?", sequence)


def _query(store: Path, sql: str, *values: int) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        return int(db.execute(sql, values).fetchone()[0])
