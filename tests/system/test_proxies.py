"""nginx and Caddy before the gateway, with the configurations that the project has for them."""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.installs import CLIENTS, unavailable, unpacked
from tests.conftest import APPLICATION_ID, PROCESS_CONFIG, ROOT, Process
from tests.web.test_tls import make_certificate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLIENT = "127.0.0.2"
SECONDS = 30

Connect = Callable[[], http.client.HTTPConnection]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(package: str, path: str) -> str:
    """A program of Debian's *package*, which is unpacked if it is not installed."""
    found = shutil.which(package, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None and shutil.which("apt-get"):
        found = str(unpacked(package, CLIENTS / package) / path)
    return found or unavailable(f"{package} is not installed: apt-get install {package}")


@pytest.fixture
def behind(process: Process) -> Process:
    """A gateway that trusts proxies on this machine."""
    config = PROCESS_CONFIG.replace(
        "[server]\n", '[server]\ntrusted_proxies = ["127.0.0.1"]\n', 1
    ).replace('devices = ["D1"]', 'devices = ["D1", "a?b"]')
    process.config.write_text(config)
    return process.start()


def nginx(folder: Path, gateway: str, port: int) -> tuple[list[str], Connect]:
    certificate, key = make_certificate(folder, "proxy")
    text = (ROOT / "deploy/nginx/gateway.conf").read_text()
    for documented, here in (
        ("127.0.0.1:8080", gateway),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/tls/chain.pem", str(certificate)),
        ("/etc/nginx/tls/key.pem", str(key)),
    ):
        assert documented in text
        text = text.replace(documented, here)
    kept = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "\n".join(f"{name}_temp_path {folder}/{name};" for name in kept)
    user = "user root;" if os.geteuid() == 0 else ""
    whole = f"{user} daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
    whole += f"http {{\naccess_log off;\n{folders}\n{text}\n}}\n"
    (folder / "nginx.conf").write_text(whole)
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False

    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", port, context=context, source_address=(CLIENT, 0), timeout=SECONDS
        )

    arguments = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    return [program("nginx", "usr/sbin/nginx"), *arguments], connect


def caddy(folder: Path, gateway: str, port: int) -> tuple[list[str], Connect]:
    text = (ROOT / "deploy/caddy/Caddyfile").read_text()
    assert "\nevents.example.com {" in text
    text = text.replace("events.example.com", f"http://127.0.0.1:{port}")
    text = text.replace("127.0.0.1:8080", gateway)
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)

    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            "127.0.0.1", port, source_address=(CLIENT, 0), timeout=SECONDS
        )

    arguments = ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    return [program("caddy", "usr/bin/caddy"), *arguments], connect


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def connect(request: pytest.FixtureRequest, behind: Process, tmp_path: Path) -> Iterator[Connect]:
    """Connects a client of another address to a proxy before the gateway."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    port = free_port()
    command, connect = request.param(folder, behind.url.removeprefix("http://"), port)
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        proxy = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert proxy.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield connect
    finally:
        proxy.terminate()
        proxy.wait(SECONDS)


def send(
    connect: Connect, method: str, path: str, document: object, headers: dict[str, str]
) -> int:
    connection = connect()
    try:
        body = json.dumps(document)
        sent = {"Content-Type": "application/json", "X-Forwarded-For": "203.0.113.9", **headers}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


CALL = {"request": {"time": "2026-01-15T10:00:00Z", "verb": "GET", "uri": "https://a.example/1"}}
READING = {
    "id": "1",
    "type": "os/cpu",
    "system": "web-1",
    "agent-id": "web-1/cpu",
    "timestamp": "2026-01-15T10:00:00Z",
}
DOOR = {
    "typeId": "0045",
    "description": "door opened",
    "appId": "kiosk",
    "severity": 3,
    "data": {},
    "timestamp": 1768471200000,
}


def test_every_dialect_passes_a_proxy_and_records_have_the_address_of_the_client(connect, behind):
    moesif = {"X-Moesif-Application-Id": APPLICATION_ID}
    device = {"X-Moki-TenantAPIToken": "K1"}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]}

    assert 201 == send(connect, "POST", "/v1/events", CALL, moesif)
    space = {"logspace.space-token": "development"}
    assert 202 == send(connect, "PUT", "/events", [READING], space)
    encoded = "/rest/v1/api/tenants/T1/devices/a%3Fb/events"
    assert 201 == send(connect, "POST", encoded, DOOR, device)
    assert 200 == send(connect, "POST", "/v1/logs", logs, moesif)

    assert [CLIENT] * 4 == [event["clientaddress"] for event in behind.export()]


def test_a_batch_of_many_megabytes_passes_a_proxy(connect, behind):
    large = [{**CALL, "note": "x" * 100_000} for _ in range(200)]

    assert 201 == send(
        connect, "POST", "/v1/events/batch", large, {"X-Moesif-Application-Id": APPLICATION_ID}
    )
    assert 200 == len(behind.export())
