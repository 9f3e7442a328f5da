"""SIGHUP: the configuration is read again, and no request notices more than that."""

import asyncio
import itertools
import json
import re
import shutil
import signal
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import APPLICATION_ID, PROCESS_CONFIG, Process
from tests.system.wire import Client, Request, ask
from tests.web.test_tls import make_certificate, trusting

TOKEN = "a token of this test"
OTHER = "another token of this test"


def config(token: str, more: str = "", **changes: str) -> str:
    text = PROCESS_CONFIG.replace('tokens = ["development"]', f'tokens = ["{token}"]')
    for before, after in changes.items():
        text = text.replace(before, after)
    return text + more


@pytest.fixture
def reloading(process: Process) -> Process:
    process.config.write_text(config(TOKEN))
    return process.start()


def metrics(process: Process) -> dict[str, float]:
    with urllib.request.urlopen(f"{process.ops_url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


RESULTS = ("success", "failure")


def reloads(process: Process) -> tuple[int, ...]:
    """How many reloads have succeeded and failed."""
    known = metrics(process)
    return tuple(int(known[f'gateway_config_reloads_total{{result="{one}"}}']) for one in RESULTS)


def reload(process: Process, text: str | None = None) -> tuple[int, int]:
    """Let a running gateway read its configuration, *text*; return the reloads since."""
    before = reloads(process)
    if text is not None:
        process.config.write_text(text)
    assert process.process is not None
    process.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while (now := reloads(process)) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return now[0] - before[0], now[1] - before[1]


def logged(process: Process, event: str) -> list[dict[str, object]]:
    metrics(process)  # A line is written a turn of the event loop after its answer.
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def events(token: str, *ids: str, body: bytes | None = None) -> Request:
    event = {"type": "a", "system": "s", "agent-id": "a", "timestamp": "2024-01-01T00:00:00Z"}
    document = [{"id": one, **event} for one in ids]
    return Request("PUT", "/events", {"logspace.space-token": token}, body or document)


async def status(process: Process, request: Request) -> int:
    answer = await ask(process.url, request)
    assert answer is not None
    return answer.status


async def test_a_token_is_replaced_on_a_connection_that_stays_open(reloading):
    client = Client(reloading.url)
    assert 202 == (await client.send(events(TOKEN, "1"))).status

    assert (1, 0) == reload(reloading, config(OTHER))

    assert 202 == (await client.send(events(OTHER, "2"))).status
    assert 403 == (await client.send(events(TOKEN, "3"))).status
    assert 1 == client.connections
    client.close()
    [line] = logged(reloading, "config_reloaded")
    assert ["logspace"] == line["changed"]
    assert metrics(reloading)["gateway_config_hash"] == line["hash"]


async def test_a_bad_file_changes_nothing_and_is_told(reloading):
    before = metrics(reloading)

    assert (0, 1) == reload(reloading, config(OTHER, more='[log]\nlevel = "loud"\n'))

    assert [202, 403] == [await status(reloading, events(one, one)) for one in (TOKEN, OTHER)]
    [line] = logged(reloading, "config_refused")
    place = f"{reloading.config}:{len(config(OTHER).splitlines()) + 2}:1: log.level: "
    assert [f"{place}Not one of: debug, info, warning, error."] == line["problems"]
    same = ("gateway_config_hash", "gateway_config_last_reload_success_timestamp_seconds")
    assert [before[one] for one in same] == [metrics(reloading)[one] for one in same]


@pytest.mark.parametrize("text", ["", "[server]\nlisten = ", PROCESS_CONFIG[:200]])
async def test_a_file_that_is_half_written_changes_nothing(reloading, text):
    assert (0, 1) == reload(reloading, text)

    assert 202 == await status(reloading, events(TOKEN, "1"))


async def test_a_missing_file_changes_nothing_until_it_is_there_again(reloading):
    moved = reloading.config.rename(reloading.folder / "moved")
    assert (0, 1) == reload(reloading)
    assert 202 == await status(reloading, events(TOKEN, "1"))

    assert (1, 0) == reload(reloading, moved.read_text())


async def test_options_that_need_a_restart_are_named_until_it_happens(reloading):
    changed = {"127.0.0.1:0": "127.0.0.1:1"}
    more = "[spool]\nmax_events = 5\n"
    for _ in range(2):
        # Two ports that nobody opens.
        text = config(OTHER, more, **changed).replace(".1:1", ".1:2", 1)
        assert (1, 0) == reload(reloading, text)

    found = [line["options"] for line in logged(reloading, "config_needs_restart")]
    assert 2 * [["server.listen", "ops.listen", "spool.max_events"]] == found
    assert 202 == await status(reloading, events(OTHER, "1"))


async def test_limits_masks_and_the_level_of_the_log_change(reloading):
    await status(reloading, events(TOKEN, "shown"))
    more = """
[redact]
keys = ["type"]
[log]
level = "warning"
[limits]
tenant_events = { rate = 1, burst = 2 }
connections_per_address = 7
"""
    assert (1, 0) == reload(reloading, config(TOKEN, more))

    assert 202 == await status(reloading, events(TOKEN, "hidden", "h2", "h3"))
    assert 503 == await status(reloading, events(TOKEN, "hidden"))
    assert 1 == len(logged(reloading, "request_answered"))
    assert (1, 0) == reload(reloading, config(TOKEN))
    assert 202 == await status(reloading, events(TOKEN, "4"))
    assert 2 == len(logged(reloading, "request_answered"))
    reloading.stop()
    types = {line["data"]["id"]: line["type"] for line in reloading.export()}
    assert {"shown": "a", "4": "a"}.items() <= types.items()
    assert "a" not in {types["hidden"], types["h2"], types["h3"]}


async def test_what_a_rate_has_taken_is_not_forgotten(reloading):
    more = "[limits]\ntenant_events = { rate = 1, burst = 1 }\n"
    assert (1, 0) == reload(reloading, config(TOKEN, more))
    assert 202 == await status(reloading, events(TOKEN, *map(str, range(100))))

    assert (1, 0) == reload(reloading, config(TOKEN, more, acme="acme2"))

    assert 503 == await status(reloading, events(TOKEN, "1"))


def device(name: str) -> Request:
    event = {"typeId": "t", "description": "", "appId": "a", "severity": 1, "data": {}}
    path = f"/rest/v1/api/tenants/T1/devices/{name}/events"
    key = {"X-Moki-TenantAPIToken": "K1"}
    return Request("POST", path, key, event | {"timestamp": time.time_ns() // 1_000_000})


async def test_devices_that_requests_created_exist_after_a_reload(reloading):
    opened = {'devices = ["D1"]\n[[device.tenants]]\ntenant = "Q"': 'provisioning = "open"\n'
              'max_devices = 2\n[[device.tenants]]\ntenant = "Q"'}  # fmt: skip
    assert (1, 0) == reload(reloading, config(TOKEN, **opened))
    assert [201, 201] == [await status(reloading, device(one)) for one in ("new1", "D1")]

    assert (1, 0) == reload(reloading, config(OTHER, **opened))
    assert [201, 404] == [await status(reloading, device(one)) for one in ("new1", "new2")]

    assert (1, 0) == reload(reloading, config(OTHER))
    assert [201, 201, 404] == [await status(reloading, device(n)) for n in ("new1", "D1", "new2")]


async def test_orders_change_with_the_folder_that_the_configuration_names(reloading):
    for name in ("one", "two"):
        (reloading.folder / name).mkdir()
        (reloading.folder / name / "c.json").write_text(f'"{name}"')

    async def order() -> tuple[int, bytes]:
        request = Request("GET", "/orders/c", {"logspace.space-token": TOKEN}, b"")
        answer = await ask(reloading.url, request)
        return answer.status, answer.body

    assert 404 == (await order())[0]
    for name in ("one", "two"):
        more = f'[logspace]\norders_directory = "{name}"\n'
        assert (1, 0) == reload(reloading, config(TOKEN, more))
        assert (200, f'"{name}"'.encode()) == await order()


async def test_retention_begins_with_a_reload(reloading):
    assert 202 == await status(reloading, events(TOKEN, "old"))

    assert (1, 0) == reload(reloading, config(TOKEN, '[retention]\nmax_age = "1s"\n'))

    async with asyncio.timeout(30):
        while not any(n for name, n in metrics(reloading).items() if "expired_total" in name):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_counts_of_clocks_go_on_after_a_reload(reloading):
    series = 'gateway_clock_skew_events_total{dialect="device",direction="seconds",tenant="T1"}'
    request = device("D1")
    request.document["timestamp"] = 5
    assert 201 == await status(reloading, request)
    assert 1 == metrics(reloading)[series]

    assert (1, 0) == reload(reloading, config(OTHER))
    request.document["timestamp"] = 6
    assert 201 == await status(reloading, request)
    assert 2 == metrics(reloading)[series]


async def test_what_sdks_are_told_changes_with_the_files_that_the_configuration_names(reloading):
    rules = reloading.folder / "rules.json"
    rules.write_text("[]")
    table = "[[moesif.applications]]"
    text = config(TOKEN, **{table: f'{table}\nsample_rate = 10\nrules_file = "{rules}"'})
    assert (1, 0) == reload(reloading, text)

    async def told(path: str) -> tuple[object, str]:
        sdk = {"X-Moesif-Application-Id": APPLICATION_ID}
        answer = await ask(reloading.url, Request("GET", path, sdk, b""))
        return answer.json, answer.headers["etag"]

    config_before, rules_before = await told("/v1/config"), await told("/v1/rules")
    assert 10 == config_before[0]["sample_rate"]
    rules.write_text('[{"_id":"1","type":"regex","block":true}]')
    assert (1, 0) == reload(reloading, text)

    assert config_before == await told("/v1/config")
    after = await told("/v1/rules")
    assert "1" == after[0][0]["_id"]
    assert rules_before[1] != after[1]


async def test_a_request_that_has_begun_ends_as_it_began(reloading):
    """Its head was admitted, so its body is taken, by the limits of then."""
    parts = events(TOKEN, "early").written()
    host, port = reloading.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(parts[:-20])
    await writer.drain()
    await asyncio.sleep(0.2)

    more = "[logspace]\nmax_body = 10\n[ingest]\nmax_event = 10\n"
    assert (1, 0) == reload(reloading, config(OTHER, more))
    writer.write(parts[-20:])
    assert b"HTTP/1.1 202" in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert 413 == await status(reloading, events(OTHER, "late"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_a_certificate_is_renewed_while_old_connections_go_on(process):
    paths = [process.folder / "chain.pem", process.folder / "key.pem"]

    def renew(name: str) -> ssl.SSLContext:
        for made, path in zip(make_certificate(process.folder, name), paths, strict=True):
            made.rename(path)
        return trusting(paths[0])

    tls = f'[server]\ncertificate = "{paths[0]}"\nkey = "{paths[1]}"\n'
    text = PROCESS_CONFIG.replace("[server]\n", tls)
    process.config.write_text(text)
    first = renew("first")
    host, port = process.start().url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=first)

    second = renew("second")
    assert (1, 0) == reload(process)

    writer.write(events("development", "old").written())
    assert b"HTTP/1.1 202" in await reader.readline()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(host, int(port), ssl=first)
    _, other = await asyncio.open_connection(host, int(port), ssl=second)
    # A key that does not belong to its certificate changes nothing.
    paths[1].write_bytes(make_certificate(process.folder, "third")[1].read_bytes())
    assert (0, 1) == reload(process)
    _, last = await asyncio.open_connection(host, int(port), ssl=second)
    for one in (writer, other, last):
        one.close()
        await one.wait_closed()


def resident(process: Process) -> int:
    """Bytes of memory that the process has."""
    assert process.process is not None
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
async def test_many_reloads_under_load_answer_no_request_wrongly(reloading, count):
    """Both tokens are good in turn; a third one always is, and its tenant changes never."""
    always = '[[logspace.spaces]]\ntenant = "always"\ntokens = ["good all the time"]\n'
    texts = [config(one, always) for one in (TOKEN, OTHER)]
    reload(reloading, texts[0])
    done, answers, names = asyncio.Event(), [], map(str, itertools.count())

    async def send() -> None:
        client = Client(reloading.url)
        for name in names:
            if done.is_set():
                break
            answer = await client.send(events("good all the time", name))
            answers.append((answer.status, name))
            token = (TOKEN, OTHER)[int(name) % 2]
            assert (await client.send(events(token, f"{name} {token}"))).status in (202, 403)
        assert 1 == client.connections
        client.close()

    tasks = [asyncio.create_task(send()) for _ in range(4)]
    sizes = []
    for number in range(count):
        assert (1, 0) == await asyncio.to_thread(reload, reloading, texts[number % 2])
        if number in (count // 2 - 1, count - 1):
            sizes.append(resident(reloading))
    done.set()
    await asyncio.gather(*tasks)

    assert {202} == {status for status, _ in answers}
    assert 403 == await status(reloading, events(TOKEN, "x"))
    reloading.stop()
    kept = reloading.export("--tenant", "always")
    assert len(answers) == len(kept)
    # The second half needs no more than what the events themselves may cost.
    assert sizes[1] - sizes[0] < 4 << 20, sizes


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(10)
        yield channel


def test_systemd_hears_of_a_reload_and_of_one_that_failed(process, systemd, tmp_path):
    process.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    process.start()
    assert b"READY=1" == systemd.recv(4096)
    for text, said in [
        (PROCESS_CONFIG, r"Configuration of \S+ in use\."),
        ("a", r"Configuration of \S+ refused, the former one is in use: .*config.toml: Not TOML"),
    ]:
        process.config.write_text(text)
        before = time.monotonic_ns() // 1000
        process.process.send_signal(signal.SIGHUP)

        begun = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", systemd.recv(4096))
        assert begun
        assert before <= int(begun[1]) <= time.monotonic_ns() // 1000
        assert re.match(rf"READY=1\nSTATUS={said}".encode(), systemd.recv(4096))


def test_a_hangup_during_the_start_does_not_end_the_gateway(process):
    process.start()
    process.process.send_signal(signal.SIGHUP)
    assert 0 == process.stop()
