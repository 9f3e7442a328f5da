"""A gateway in trouble, and the prompt of the operator who looks for the reason."""

import json
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.conftest import ROOT, Process
from tests.forking import start

APPLICATION_ID = "0123456789" * 6
SPACE_TOKEN = "space-0123456789abcdef"
DEVICE_KEY = "device-0123456789abcdef"

CONFIG = f"""\
[server]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[[moesif.applications]]
tenant = "acme"
ids = ["{APPLICATION_ID}"]
[[logspace.spaces]]
tenant = "plant"
tokens = ["{SPACE_TOKEN}"]
[[device.tenants]]
tenant = "T1"
provisioning = "open"
[[device.keys]]
key = "{DEVICE_KEY}"
tenants = ["T1"]
"""

_SECONDS = 60
T = TypeVar("T")
_UP = re.compile(r"up \d+ (s|min|h|d)\b")
_NAMES = re.compile(r'"[0-9a-f]{8,}"|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b')
_NUMBERS = re.compile(r"-?\d[\d.,:TZ+]*(-\d[\d.,:TZ+]*)*")
_UNITS = re.compile(r"\b0 ([kMGT]B|bytes?)(?=[, ]|$)")
_BLANKS = re.compile(r"[─ ]+")


class Scene:
    """A gateway process with clients that do something wrong, and an operator."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.folder = process.folder
        self._kept = ExitStack()
        self._bin = bin_ = self.folder / "bin"
        bin_.mkdir()
        # The journal of the service is what it writes to stderr.
        _script(bin_ / "journalctl", f'cat "{process.log}"')
        self._program = f'"{sys.executable}" -m gateway'
        self._elsewhere = False
        self._environment = {
            **os.environ,
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GATEWAY_CONFIG": "config.toml",
            "COLUMNS": "100",
            "TERM": "dumb",
            "NO_COLOR": "1",
        }

    def begin(self, config: str = CONFIG) -> None:
        """Start the gateway."""
        self.process.config.write_text(config)
        self.process.start()
        if self._elsewhere:
            # Where the gateway sees its disk, its operator does.
            inside = f"nsenter -t {self.process.process.pid} -U -m --preserve-credentials"
            self._program = f'{inside} --wd="{self.folder}" {self._program}'
        _script(self._bin / "gateway", f'exec {self._program} "$@"')
        # The file names the address of the operator's listener, which the gateway chose.
        ops = self.process.ops_url.removeprefix("http://")
        chosen = config.replace('[ops]\nlisten = "127.0.0.1:0"', f'[ops]\nlisten = "{ops}"')
        self.process.config.write_text(chosen)

    def enter(self, kept: AbstractContextManager[T]) -> T:
        """Hold *kept* until the end of the scene."""
        return self._kept.enter_context(kept)

    def close(self) -> None:
        """Let go of what is held."""
        self._kept.close()

    def on_small_disk(self, folder: Path) -> None:
        """Let *folder* be a disk of two megabytes for the gateway; skip where that cannot be."""
        mount = f'mount -t tmpfs -o size=2m tmpfs "{folder}"'
        if not all(map(shutil.which, ("unshare", "nsenter", "mount"))):
            pytest.skip("unshare and nsenter are not installed")
        tried = subprocess.run(
            ["unshare", "-rm", "sh", "-c", mount], capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"no disk can be mounted here: {tried.stderr.strip()}")
        start_there = f'{mount} && exec "{sys.executable}" -m gateway "$@"'
        there = ["unshare", "-rm", "sh", "-c", start_there, "sh"]
        self.process.program = [
            "-c",
            f"import os, sys; os.execvp('unshare', {there!r} + sys.argv[1:])",
        ]
        self.process.fresh = True
        self._elsewhere = True

    def send(
        self, method: str, path: str, document: object, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Send a document as a client would; return the status and the body of the answer."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        sent = {"Content-Type": "application/json", "User-Agent": "shop/1.4", **headers}
        request = urllib.request.Request(self.process.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def moesif(
        self, document: object, path: str = "/v1/events", secret: str = APPLICATION_ID
    ) -> int:
        return self.send("POST", path, document, {"X-Moesif-Application-Id": secret})[0]

    def device(self, device: str, **changes: object) -> int:
        event = {
            "typeId": "0045",
            "description": "door opened",
            "appId": "kiosk",
            "severity": 3,
            "data": {"version": 2.5},
            "timestamp": time.time_ns() // 1_000_000,
            **changes,
        }
        path = f"/rest/v1/api/tenants/T1/devices/{device}/events"
        return self.send("POST", path, event, {"X-Moki-TenantAPIToken": DEVICE_KEY})[0]

    def paste(self, line: str) -> str:
        """Run *line* at a terminal of 100 columns; return what it shows."""
        return self._run(line).replace(str(self.folder), "/var/lib/gateway")

    def _run(self, line: str) -> str:
        if line.startswith("gateway ") and "|" not in line and not self._elsewhere:
            return self._show(lambda there: start(["-m", *shlex.split(line)], **there))
        if "|" not in line:
            return self._show(lambda there: subprocess.Popen(shlex.split(line), **there))
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
        return done.stdout.decode()

    def _show(self, begin: Callable[..., Any]) -> str:
        """What a process shows at a terminal."""
        here, there = pty.openpty()
        with os.fdopen(there, "wb", buffering=0) as terminal:
            process = begin(
                {
                    "cwd": self.folder,
                    "env": self._environment,
                    "stdout": terminal,
                    "stderr": terminal,
                }
            )
        shown, deadline = b"", time.monotonic() + _SECONDS
        ended = False
        try:
            while True:
                assert time.monotonic() < deadline, shown
                ready, _, _ = select.select([here], [], [], 0.02)
                if ready:
                    try:
                        more = os.read(here, 65536)
                    except OSError:  # the other side is closed
                        break
                    shown += more
                elif ended:
                    break
                else:
                    ended = process.poll() is not None
        finally:
            os.close(here)
            process.wait(_SECONDS)
        return shown.decode().replace("\r\n", "\n")


def call(number: int = 1, **changes: object) -> dict[str, object]:
    """A logged API call."""
    return {
        "request": {
            "time": "2026-01-15T10:00:00Z",
            "verb": "GET",
            "uri": f"https://shop.example/items/{number}",
        },
        "response": {"time": "2026-01-15T10:00:01Z", "status": 200},
        **changes,
    }


def shape(shown: str) -> list[str]:
    """What does not differ from one run to the next of what a command shows."""
    lines = []
    for line in shown.splitlines():
        plain = _NUMBERS.sub("0", _NAMES.sub("*", _UP.sub("up", line)))
        plain = _UNITS.sub("0 B", plain)
        if stripped := _BLANKS.sub(" ", plain).strip():
            lines.append(stripped)
    return lines


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
