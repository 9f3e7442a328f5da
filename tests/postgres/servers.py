"""PostgreSQL servers for tests: each in a folder of its own, on a port of its own."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncpg

from tests.clients.installs import unavailable

_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 64MB
max_wal_senders = 8
wal_keep_size = 64MB
hot_standby = on
log_min_messages = fatal
autovacuum_naptime = 5
wal_retrieve_retry_interval = 200ms
dynamic_shared_memory_type = mmap
"""
USER = "gateway"

_number = itertools.count(1)


def binaries() -> Path:
    """The folder of the newest server's programs; Debian's package is installed if there is none.

    Skips the test where that cannot be.
    """
    if not _folders() and os.geteuid() == 0 and shutil.which("apt-get"):
        # No server of the package's own: these tests start theirs.
        settings = Path("/etc/postgresql-common/createcluster.conf")
        if not settings.exists():
            settings.parent.mkdir(parents=True, exist_ok=True)
            settings.write_text("create_main_cluster = false\n")
        keep = ("-o", "Dpkg::Options::=--force-confold")
        for arguments in (["update"], ["install", "--yes", *keep, "postgresql"]):
            subprocess.run(["apt-get", "--quiet=2", *arguments], check=False, capture_output=True)
    found = _folders()
    return (
        found[-1]
        if found
        else unavailable("PostgreSQL is not installed: apt-get install postgresql")
    )


def _folders() -> list[Path]:
    every = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return sorted((one.parent for one in every), key=lambda one: float(one.parent.name))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


class Server:
    """One server; `start` and `stop` it as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@{self.host}/{database}"

    def initialise(self, settings: str = "") -> None:
        """Make an empty cluster."""
        run("initdb", "-D", self.folder, "-U", USER, "-A", "trust", "--locale=C.UTF-8", "-N")
        self.configure(_SETTINGS + settings)
        with (self.folder / "pg_hba.conf").open("a") as file:
            file.write(f"host replication {USER} 127.0.0.1/32 trust\n")

    def configure(self, settings: str) -> None:
        """Add *settings* to the configuration."""
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(f"\n{settings}\n")

    def copy_to(self, folder: Path, name: str) -> "Server":
        """Make a standby that follows this server as *name*."""
        standby = Server(folder)
        run(
            "pg_basebackup",
            "-D",
            folder,
            "-d",
            f"{self.url()}?application_name={name}",
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        )
        return standby

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binaries() / "postgres", "-D", self.folder, "-p", str(self.port)],
                stdout=log,
                stderr=log,
                user=_user(),
                start_new_session=True,
            )
        for _ in range(400):
            done = subprocess.run(
                [binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                check=False,
            )
            if done.returncode == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        """Stop at once; what is committed stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def kill(self) -> None:
        """End the server and all its processes with SIGKILL."""
        self._signal_all(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def freeze(self) -> None:
        """Stop all processes with SIGSTOP: connections stay open, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def promote(self) -> None:
        """Make a standby the primary; return when it is."""
        run("pg_ctl", "promote", "-D", self.folder, "-w")

    def _signal_all(self, number: signal.Signals) -> None:
        # Each process of the server has a session of its own.
        assert self._process is not None
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        for pid in [self._process.pid, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def create_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"test{next(_number)}"
        connection = await asyncpg.connect(self.url())
        await connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        await connection.close()
        return self.url(name)

    async def query(self, sql: str) -> list[asyncpg.Record]:
        """What *sql* selects, by a connection of the test's own."""
        connection = await asyncpg.connect(self.url())
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()


def _user() -> str | None:
    # A server refuses to run as root.
    return "postgres" if os.geteuid() == 0 else None


def run(program: str, *arguments: object) -> None:
    """Run one of PostgreSQL's programs."""
    done = subprocess.run(
        [binaries() / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        user=_user(),
        cwd="/",
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory, if there is one, that belongs to whoever runs the servers."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="gateway-pg-", dir=memory if memory.is_dir() else None))
    user = _user()
    if user is not None:
        shutil.chown(made, user)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def running_server(settings: str = "") -> Iterator[Server]:
    """A server with an empty cluster."""
    with folder() as made:
        server = Server(made / "primary")
        server.initialise(settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def new_database(server: Server) -> str:
    """Make an empty database, outside of any event loop; return its URL."""
    return asyncio.run(server.create_database())
