"""The demo that ``gateway serve`` starts without a configuration, and what overrides one."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import PROCESS_CONFIG, ROOT, command
from tests.forking import Forked, run, start

PORTS = (8080, 8081)
CURL = re.compile(r"^# .*\ncurl (?:.*\n)+?\n", re.MULTILINE)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Demo:
    """``gateway serve`` in a folder, and a prompt in the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: Forked | None = None
        self.told = ""
        bin_ = folder / "bin"
        bin_.mkdir()
        program = bin_ / "gateway"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
        program.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "GATEWAY_CONFIG"},
            "PYTHONPATH": str(ROOT),
            "PATH": f"{bin_}:{os.environ['PATH']}",
        }

    def start(self, *options: str) -> str:
        """Start it; return what it prints, as soon as it listens."""
        out, log = self.folder / "out", self.folder / "gateway.log"
        with out.open("wb") as told, log.open("wb") as errors:
            self.process = start(
                ["-m", "gateway", "serve", *options],
                cwd=self.folder,
                env=self.environment,
                stdout=told,
                stderr=errors,
            )
        _until(lambda: b"gateway_started" in log.read_bytes() or self.process.poll() is not None)
        if not options or "--config" not in options:
            _until(lambda: b"gateway status" in out.read_bytes())
        self.told = out.read_text()
        return self.told

    def log(self) -> list[dict[str, object]]:
        complete = (self.folder / "gateway.log").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def logged(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.log() if line["event"] == event]

    def paste(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout.decode()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            assert 0 == self.process.wait(timeout=40)
            self.process = None


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo not yet started, for which the usual ports are taken: another test may want them."""
    held = [socket.socket() for _ in PORTS]
    for port, one in zip(PORTS, held, strict=True):
        # If somebody else has it, it is taken as well.
        with suppress(OSError):
            one.bind(("127.0.0.1", port))
    made = Demo(tmp_path)
    yield made
    made.stop()
    for one in held:
        one.close()


def _sources(events: str) -> list[str]:
    return sorted(json.loads(line)["source"] for line in events.splitlines())


@needs_curl
def test_the_curl_lines_that_a_demo_prints_store_an_event_of_each_dialect(demo):
    told = demo.start()
    lines = CURL.findall(told)

    assert "201\n202\n{} 201\n{} 200\n" == demo.paste("\n".join(lines))
    everything = ["/device/acme", "/logspace/acme", "/moesif/acme", "/otlp/acme"]
    assert everything == _sources(demo.paste("gateway events"))
    assert 4 == json.loads(demo.paste("gateway status"))["stored"]
    assert 4 == len(demo.paste("gateway stats").splitlines())


@needs_curl
def test_a_second_start_of_a_demo_takes_the_lines_of_the_first(demo):
    lines = "\n".join(CURL.findall(demo.start()))
    made = (demo.folder / "gateway-demo/config.toml").read_bytes()
    demo.paste(lines)
    demo.stop()
    demo.start()

    assert made == (demo.folder / "gateway-demo/config.toml").read_bytes()
    # Devices are told of a duplicate; the others hear again that all is well.
    assert "201\n202\n" == demo.paste(lines)[:8]
    assert 4 == len(demo.paste("gateway events").splitlines())
    assert 4 == json.loads(demo.paste("gateway status"))["duplicates"]


def test_only_its_owner_can_read_the_credentials_of_a_demo(demo):
    demo.start()

    assert 0o700 == (demo.folder / "gateway-demo").stat().st_mode & 0o777
    assert 0o600 == (demo.folder / "gateway-demo/config.toml").stat().st_mode & 0o777
    assert "*\n" == (demo.folder / "gateway-demo/.gitignore").read_text()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", ":0"])
def test_a_demo_does_not_listen_where_other_machines_can_connect(tmp_path, listen):
    done = run(["-m", "gateway", "serve", "--listen", listen], cwd=tmp_path)

    assert (78, "") == (done.returncode, done.stdout)
    assert f"{listen} is open to other machines, and a demo is not" in done.stderr


def test_a_file_that_is_named_and_missing_starts_no_demo(tmp_path):
    environment = {**os.environ, "GATEWAY_CONFIG": "absent.toml"}
    done = run(["-m", "gateway", "serve"], cwd=tmp_path, env=environment)

    assert 78 == done.returncode
    assert [] == list(tmp_path.iterdir())


def test_a_command_in_a_folder_without_configuration_says_what_to_do(tmp_path):
    done = command("events", cwd=tmp_path)

    assert 78 == done.exit_code
    assert "config.toml: No such file or directory" in done.stderr
    assert "--config or GATEWAY_CONFIG; `gateway serve` without one starts a demo" in done.stderr


def test_options_of_serve_override_the_file_and_go_on_doing_so_after_a_reload(demo):
    config = demo.folder / "config.toml"
    config.write_text(PROCESS_CONFIG.replace('"127.0.0.1:0"', '"127.0.0.1:9"', 1))
    with config.open("a") as file:
        file.write('[log]\nlevel = "error"\n')
    demo.start("--config", "config.toml", "--listen", "127.0.0.1:0", "--log-level", "info")
    demo.process.send_signal(signal.SIGHUP)
    _until(lambda: bool(demo.logged("config_reloaded")))
    [started] = demo.logged("gateway_started")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{started['address']}/nothing")
    refused.value.close()
    _until(lambda: bool(demo.logged("request_refused")))

    assert [
        ("server.listen", "127.0.0.1:0", "127.0.0.1:9"),
        ("log.level", "info", "error"),
    ] == [(one["option"], one["value"], one["file"]) for one in demo.logged("config_overridden")]
    assert [] == demo.logged("config_needs_restart")


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:99999", "no.invalid:80"])
def test_an_address_that_cannot_be_listened_on_is_refused(tmp_path, listen):
    (tmp_path / "config.toml").write_text(PROCESS_CONFIG)
    done = run(["-m", "gateway", "serve", "--listen", listen], cwd=tmp_path)

    assert 78 == done.returncode
    assert "server.listen: " in done.stderr
