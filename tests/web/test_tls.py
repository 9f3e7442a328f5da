"""TLS on the public listener, with a certificate made for the test."""

import asyncio
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.adapters.test_logspace import reading
from tests.test_config import faults

if shutil.which("openssl") is None and not os.environ.get("CI"):
    pytest.skip("openssl is not installed", allow_module_level=True)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=gateway", "-addext"]
    command += ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "one")


@pytest.fixture
async def gateway(running, made):
    certificate, key = map(str, made)
    async with running({"server": {"certificate": certificate, "key": key}}) as gateway:
        gateway.url = gateway.url.replace("http:", "https:")
        yield gateway


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


async def test_events_are_taken_over_tls(gateway, made):
    for _ in range(2):
        async with gateway.session.put(
            f"{gateway.url}/events",
            json=[reading()],
            headers={"logspace.space-token": "development"},
            ssl=trusting(made[0]),
        ) as answer:
            assert 202 == answer.status

    assert 1 == len(await gateway.events())


async def test_the_answer_to_a_large_body_comes_over_tls(gateway, made):
    events = [reading(id=f"{at}") for at in range(3000)]
    async with gateway.session.put(
        f"{gateway.url}/events",
        json=events,
        headers={"logspace.space-token": "development"},
        ssl=trusting(made[0]),
    ) as answer:
        assert 202 == answer.status

    assert len(events) == len(await gateway.events())


async def test_a_client_without_tls_is_closed_and_others_are_answered(gateway, made):
    host, port = gateway.gateway.address
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"PUT /events HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"" == await asyncio.wait_for(reader.read(), 10)
    writer.close()

    await test_events_are_taken_over_tls(gateway, made)


async def test_old_versions_of_tls_are_refused(gateway, made):
    old = trusting(made[0])
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*gateway.gateway.address, ssl=old)


async def test_a_client_that_says_goodbye_leaves_nothing_in_the_log(gateway, made, capfd):
    reader, writer = await asyncio.open_connection(
        *gateway.gateway.address, ssl=trusting(made[0]), server_hostname="127.0.0.1"
    )
    writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 404 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.1)

    assert "eof_received" not in capfd.readouterr().err


def problems(**server: str) -> list[str]:
    return [f"{path}: {why}" for path, why in faults({"server": server}).items()]


def test_a_certificate_that_cannot_be_used_is_found_by_the_check(made, tmp_path):
    certificate, key = map(str, made)
    _, other = make_certificate(tmp_path, "other")
    empty = tmp_path / "empty.pem"
    empty.touch()

    assert ["server.key: There is no certificate for it."] == problems(key=key)
    for wrong in (
        {"certificate": certificate},
        {"certificate": str(tmp_path / "missing.pem")},
        {"certificate": str(empty), "key": key},
        {"certificate": certificate, "key": str(other)},
        {"certificate": certificate, "key": str(tmp_path)},
    ):
        [problem] = problems(**wrong)
        assert problem.startswith("server.certificate: ")


def test_a_key_with_a_password_is_refused_and_nothing_asks_for_one(made, tmp_path):
    certificate, key = map(str, made)
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)

    assert ["server.certificate: The key has a password. Give a key without one."] == problems(
        certificate=certificate, key=str(locked)
    )
