"""The floors: what HTTP and the disk cost by themselves, without the gateway.

``python -m benchmarks.floors`` runs the floor of HTTP, so that it can be pinned like
the gateway.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks import payload
from benchmarks.gateway import Server
from benchmarks.machine import CORES, ROOT, on_server_core

_GROUP = 1000
"""Rows of one transaction on the floor of storage."""


@contextmanager
def bare_server() -> Iterator[Server]:
    """The floor of HTTP, while it runs: an aiohttp handler that reads the body, answers 201."""
    command = on_server_core([sys.executable, "-m", "benchmarks.floors"])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if not (url := process.stdout.readline().strip()):
                raise RuntimeError("The bare handler did not start.")
            yield Server(url, process.pid)
        finally:
            process.terminate()


async def _serve() -> None:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=201)

    app = web.Application()
    app.add_routes([web.post("/v1/events", take), web.get("/health/probe", take)])
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


def disk(folder: Path, seconds: float) -> float:
    """Rows a second of a bare executemany with the gateway's durability, on the gateway's core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed if CORES is None else {CORES[1]})
    try:
        with closing(sqlite3.connect(folder / "floor.db", isolation_level=None)) as db:
            return _fill(db, seconds)
    finally:
        os.sched_setaffinity(0, allowed)


def _fill(db: sqlite3.Connection, seconds: float) -> float:
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
    return count / spent


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run *main* on the same kind of event loop as the gateway."""
    new_loop = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)


if __name__ == "__main__":
    run(_serve())
