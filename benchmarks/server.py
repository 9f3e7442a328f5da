"""The gateway under load: the real ``gateway serve``, and what it and the kernel tell of it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import ROOT, cpu_seconds, on_server_core

APPLICATION = "acme-" + "0123456789" * 6
POOL = [f"pool-{n:02d}-" + "0123456789" * 6 for n in range(50)]
"""Application ids of tenants that only gzipped batches use."""

_CONFIG = f"""
[server]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
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
""" + "".join(
    f'[[moesif.applications]]\ntenant = "pool{n:02d}"\nids = ["{one}"]\n'
    for n, one in enumerate(POOL)
)

_GLANCE, _IDLE, _REST = 0.1, 0.01, 0.3
"""Seconds: between two looks, of CPU between them that is still rest, of rest that is enough."""

_LAG = "gateway_loop_lag"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process has used: seconds of CPU, peak memory in MiB, bytes written, commits.

    `duplicates` are events it found to be kept already; `lag` is the worst loop
    lag it has measured, in milliseconds, or None where it publishes none.
    """

    cpu: float
    peak: float
    written: int
    commits: int
    duplicates: int
    lag: float | None

    def since(self, before: "Cost") -> "Cost":
        """What was used after *before*; peaks stay as they are."""
        return Cost(
            self.cpu - before.cpu,
            self.peak,
            self.written - before.written,
            self.commits - before.commits,
            self.duplicates - before.duplicates,
            self.lag,
        )


class Server:
    """A gateway process on ports of its own, with its store in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "events.db"
        self._folder = folder
        self._log = folder / "gateway.ops.log"
        self.url = ""
        self.ops_url = ""

    def __enter__(self) -> Self:
        config = self._folder / "config.toml"
        config.write_text(_CONFIG)
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                on_server_core(command),
                cwd=self._folder,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        try:
            self._await_start()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def _await_start(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with self._log.open("rb") as log:
                for line in log:
                    if b'"gateway_started"' in line and line.endswith(b"\n"):
                        told = json.loads(line)
                        self.url = f"http://{told['address']}"
                        self.ops_url = f"http://{told['ops']}"
                        return
            time.sleep(0.02)
        raise RuntimeError(f"The gateway did not start: {self._log.read_text()[-2000:]}")

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
        """The process's id; taskset becomes what it runs, so it is the gateway's own."""
        return self._process.pid

    def await_rest(self, longest: float = 60.0) -> float:
        """Wait until the process has nothing to do, and return the seconds that took.

        A store that held events before may still be reading what it wants in
        memory. Whoever measures then does not measure a steady gateway.
        """
        started = time.monotonic()
        used, rested = cpu_seconds(self.pid), started
        while time.monotonic() - started < longest:
            time.sleep(_GLANCE)
            now = cpu_seconds(self.pid)
            if now - used > _IDLE:
                rested = time.monotonic()
            elif time.monotonic() - rested > _REST:
                break
            used = now
        return rested - started

    def forget_peak(self) -> None:
        """Let the peak of memory begin again at what is used now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cost(self) -> Cost:
        """What the process has used until now."""
        proc = Path(f"/proc/{self.pid}")
        status = _fields(proc / "status")
        samples = self.metrics()
        return Cost(
            cpu=cpu_seconds(self.pid),
            peak=int(status["VmHWM"].split()[0]) / 1024,
            written=int(_fields(proc / "io")["write_bytes"]),
            commits=int(samples.get("gateway_commit_seconds_count", 0)),
            duplicates=int(_total(samples, "gateway_duplicate_total")),
            lag=_lag(samples),
        )

    def metrics(self) -> dict[str, float]:
        """The samples of /metrics, by name and labels."""
        with urllib.request.urlopen(f"{self.ops_url}/metrics", timeout=30) as response:
            lines = response.read().decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
        }


def _fields(path: Path) -> dict[str, str]:
    parts = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.strip() for name, _, value in parts}


def _total(samples: Mapping[str, float], name: str) -> float:
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)


def _lag(samples: Mapping[str, float]) -> float | None:
    """The worst loop lag in milliseconds; of a histogram the bound of its last bucket in use."""
    found = {key: value for key, value in samples.items() if key.startswith(_LAG)}
    bounds, below = [], 0.0
    for key, value in found.items():
        if "_bucket{" in key:
            if value > below:
                bounds.append(float(key.partition('le="')[2].partition('"')[0]))
            below = value
    if not bounds:
        told = ("_sum", "_count", "_created", "_total", "_bucket")
        bounds = [value for key, value in found.items() if not key.partition("{")[0].endswith(told)]
    return max(bounds) * 1000 if bounds else None


@contextmanager
def _reader(store: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        yield db


def last_sequence(store: Path) -> int:
    """The sequence of the newest event in *store*, or 0 where there is none."""
    if not store.exists():
        return 0
    with _reader(store) as db:
        [(last,)] = db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchall()
    return int(last)


def stored_after(store: Path, sequence: int) -> int:
    """How many events *store* holds that came after *sequence*."""
    with _reader(store) as db:
        found = db.execute("SELECT count(*) FROM event WHERE seq > ?", (sequence,)).fetchall()
    return int(found[0][0])
