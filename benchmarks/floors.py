"""The floors: what HTTP and the disk cost by themselves, without the gateway.

``python -m benchmarks.floors http`` and ``... disk FOLDER SECONDS`` run one of
them as a process of its own, so that it can be pinned like the gateway.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from benchmarks import payload
from benchmarks.load import Figures, Load, drive
from benchmarks.machine import ROOT, on_server_core

_GROUP = 1000
"""Rows of one transaction on the floor of storage."""


@dataclass(frozen=True, slots=True)
class BareServer:
    """A running aiohttp handler that reads the body and answers 201."""

    url: str
    pid: int

    def measure(self, connections: int, seconds: float, folder: Path) -> Figures:
        """Drive it with single Moesif events; *folder* takes the script."""
        headers = {"X-Moesif-Application-Id": "a" * 60, "Content-Type": "application/json"}
        load = Load("/v1/events", headers, payload.moesif(), connections)
        return drive(load, self.url, self.pid, seconds, folder)


@contextmanager
def bare_server() -> Iterator[BareServer]:
    """The floor of HTTP, while it runs."""
    command = on_server_core([sys.executable, "-m", "benchmarks.floors", "http"])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if not (url := process.stdout.readline().strip()):
                raise RuntimeError("The bare handler did not start.")
            yield BareServer(url, process.pid)
        finally:
            process.terminate()


def disk(folder: Path, seconds: float) -> float:
    """Rows a second of a bare executemany with the gateway's durability."""
    command = [sys.executable, "-m", "benchmarks.floors", "disk", str(folder), str(seconds)]
    done = subprocess.run(
        on_server_core(command), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


async def _serve() -> None:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=201)

    app = web.Application()
    app.router.add_post("/v1/events", take)
    app.router.add_get("/health/probe", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


# What the gateway stores of an event, with SQLite's defaults and without an index.
_TABLE = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, dialect TEXT, tenant TEXT, kind TEXT, type TEXT, subject TEXT,
    time INTEGER, received_at INTEGER, client_address TEXT, id BLOB, key BLOB, data TEXT
)
"""
_INSERT = "INSERT INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _fill(folder: Path, seconds: float) -> float:
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    db.executescript(_TABLE)
    template, count, spent, now = payload.moesif(), 0, 0.0, time.time_ns() // 1000
    names = ("moesif", "acme", "api_call", "POST", "my_user_id", now, now, "127.0.0.1")
    while spent < seconds:
        texts = [template.replace(payload.MARK, payload.new_id()) for _ in range(_GROUP)]
        rows = [(*names, os.urandom(16), os.urandom(16), text) for text in texts]
        # Making the rows is not the disk's work.
        started = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(_INSERT, rows)
        db.execute("COMMIT")
        spent += time.perf_counter() - started
        count += _GROUP
    db.close()
    return count / spent


if __name__ == "__main__":
    if sys.argv[1] == "http":
        # On the same event loop as the gateway.
        new_loop = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_serve())
    else:
        print(_fill(Path(sys.argv[2]), float(sys.argv[3])))
