"""What tests share: a real gateway on real sockets, in this process or in one of its own."""

import copy
import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import hypothesis
import pytest
import pytest_asyncio
import structlog
from click.testing import CliRunner, Result

from gateway.adapters import ADAPTERS
from gateway.app import Gateway
from gateway.checks import dialects, validate
from gateway.cli import main
from gateway.config import resolve
from gateway.export import cloudevent
from gateway.store import Selection
from tests.dialects import config_of
from tests.forking import Forked, start

# How long an example takes says nothing here: the machine may be busy.
for _name, _examples in (("fast", 10), ("thorough", 300)):
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )

# The traceback that structlog draws for a developer takes as long as twenty tests.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

ROOT = Path(__file__).parent.parent
APPLICATION_ID = "acme-" + "0123456789" * 6

LISTEN: dict[str, Any] = {
    "server": {"listen": "127.0.0.1:0"},
    "ops": {"listen": "127.0.0.1:0"},
}
CONFIG: dict[str, Any] = {**LISTEN, **config_of()}


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of *document* with *changes*, table by table."""
    result = copy.deepcopy(dict(document))
    for name, value in changes.items():
        inner = result.get(name)
        both_tables = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[name] = merged(inner, value) if both_tables else value
    return result


class Running:
    """A gateway in this process, and a client for it."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.session = session
        self.url = f"http://127.0.0.1:{gateway.address[1]}"
        self.ops_url = f"http://127.0.0.1:{gateway.ops_address[1]}"

    async def send(self, method: str, path: str, body: Any = b"", headers: Any = None) -> "Answer":
        """Send a request; *body* may be bytes, or anything that json can write."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        from yarl import URL

        url = URL(self.url + path, encoded=True)
        # The library warns of more bytes at once.
        data = io.BytesIO(data) if len(data) > 1 << 20 else data
        async with self.session.request(
            method, url, data=data, headers=headers, allow_redirects=False
        ) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def moesif(self, path: str, body: Any, **headers: str) -> "Answer":
        """POST to the Moesif dialect as the tenant acme."""
        return await self.send(
            "POST", path, body, {"X-Moesif-Application-Id": APPLICATION_ID, **headers}
        )

    async def logspace(self, body: Any, path: str = "/events", **headers: str) -> "Answer":
        """PUT to the Logspace dialect as the space development."""
        return await self.send(
            "PUT", path, body, {"logspace.space-token": "development", **headers}
        )

    async def device(
        self, body: Any, tenant: str = "T1", device: str = "D1", **headers: str
    ) -> "Answer":
        """POST to the device dialect with the key K1."""
        path = f"/rest/v1/api/tenants/{tenant}/devices/{device}/events"
        sent = {"X-Moki-TenantAPIToken": "K1", "Content-Type": "application/json", **headers}
        return await self.send("POST", path, body, sent)

    async def events(self, **wanted: Any) -> list[dict[str, Any]]:
        """What the store holds, as `gateway export` writes it."""
        store = self.gateway._store
        return [
            json.loads(cloudevent(sequence, record))
            async for sequence, record in store.read(Selection(**wanted))
        ]

    async def metric(self, sample: str) -> float:
        """The value of a line of /metrics, by its name and labels as written there."""
        async with self.session.get(self.ops_url + "/metrics") as response:
            for line in (await response.text()).splitlines():
                if line.startswith(sample + " "):
                    return float(line.rsplit(" ", 1)[1])
        return 0.0


class Answer:
    """A response, read to its end."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:300]!r}>"


@asynccontextmanager
async def serving(
    folder: Path, changes: Mapping[str, Any] | None = None, adapters: Any = ADAPTERS
) -> AsyncIterator[Running]:
    """A gateway with the test configuration and *changes* of it, and its files in *folder*."""
    defaults = {"store": {"url": f"sqlite:///{folder}/events.db"}}
    document = merged({**LISTEN, **config_of(adapters), **defaults}, changes or {})
    settings = resolve(document, dialects(adapters))
    validate(settings, "test", adapters)
    gateway = Gateway(settings, adapters)
    await gateway.start()
    try:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Running(gateway, session)
    finally:
        await gateway.stop()


@pytest.fixture
def running(tmp_path: Path) -> Callable[..., Any]:
    """``async with running({...changes of CONFIG...}) as gateway:``"""
    return functools.partial(serving, tmp_path)


@pytest.fixture
async def gateway(running: Callable[..., Any]) -> AsyncIterator[Running]:
    """A gateway with the default test configuration."""
    async with running() as one:
        yield one


@pytest.fixture(scope="module")
def shared_adapters() -> Any:
    """The adapters that `shared` serves; a module may serve others."""
    return ADAPTERS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory, shared_adapters: Any
) -> AsyncIterator[Running]:
    """One gateway for all tests of a module that look at answers and not at what is stored."""
    async with serving(tmp_path_factory.mktemp("shared"), adapters=shared_adapters) as one:
        yield one


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of fast tests in memory: they open many stores, and no disk is tested."""
    memory = Path("/dev/shm")
    fast = config.option.markexpr == "not slow"
    if fast and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks a gateway runs in the gateway's event loop."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


_ENTERING = threading.Lock()
_COMMANDS: list[Path] = []
"""The folders of the commands that run now, which are one."""


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    """Work in *folder*, and come back when no other command works there any more."""
    with _ENTERING:
        assert {folder} >= set(_COMMANDS)
        _COMMANDS.append(folder)
        os.chdir(folder)
    try:
        yield
    finally:
        with _ENTERING:
            _COMMANDS.pop()
            if not _COMMANDS:
                os.chdir(ROOT)


def command(*arguments: str, cwd: Path, **environment: str) -> Result:
    """Run the command line ``gateway`` in *cwd*, within this process.

    On a thread of its own, because a command starts an event loop and a test may be in one.
    """
    with _within(cwd), ThreadPoolExecutor(1) as thread:
        return thread.submit(CliRunner().invoke, main, arguments, env=environment).result()


class Process:
    """The real ``gateway serve`` as a process of its own, on ports that it chose."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.config.write_text(config)
        self.log = folder / "gateway.ops.log"
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.environment: dict[str, str] = {}
        self.program: list[str] = ["-m", "gateway"]
        # A Python of its own, for what is loaded into it at its start, and for its memory.
        self.fresh = False
        self.url = ""
        self.ops_url = ""

    def start(self) -> "Process":
        """Start it and wait until it listens."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        arguments = [*self.program, "serve", "--config", str(self.config)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
        with self.log.open("ab") as log:
            if self.fresh:
                self.process = subprocess.Popen(
                    [sys.executable, *arguments], cwd=self.folder, stderr=log, env=environment
                )
            else:
                self.process = start(arguments, cwd=self.folder, stderr=log, env=environment)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with self.log.open("rb") as log:
                log.seek(offset)
                for line in log:
                    if b'"gateway_started"' in line and line.endswith(b"\n"):
                        started = json.loads(line)
                        self.url = f"http://{started['address']}"
                        self.ops_url = f"http://{started['ops']}"
                        return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill_if_running()
        raise RuntimeError(self.log.read_text())

    def signal(self, number: int) -> int:
        """Send a signal and wait for the end; return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=40)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        return self.signal(signal.SIGTERM)

    def export(self, *options: str) -> list[dict[str, Any]]:
        """What ``gateway export`` writes, run in this process: another would start for a second."""
        done = command("export", "--config", str(self.config), *options, cwd=self.folder)
        assert done.exit_code == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def kill_if_running(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


PROCESS_CONFIG = f"""
[server]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[[moesif.applications]]
tenant = "acme"
ids = ["{APPLICATION_ID}"]
[[otlp.applications]]
tenant = "acme"
ids = ["{APPLICATION_ID}"]
[[logspace.spaces]]
tenant = "development"
tokens = ["development"]
[[device.tenants]]
tenant = "T1"
devices = ["D1"]
[[device.tenants]]
tenant = "Q"
devices = ["D1"]
acknowledge = "queued"
[[device.keys]]
key = "K1"
tenants = ["T1", "Q"]
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A gateway process, not yet started; killed at the end if it still runs."""
    made = Process(tmp_path, PROCESS_CONFIG)
    yield made
    made.kill_if_running()
