"""What a user installs: the sdist and the wheel, each in an environment that holds nothing else."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("package")]

EVENT = {
    "id": "1",
    "type": "os/cpu",
    "system": "web-1",
    "agent-id": "web-1/cpu",
    "timestamp": "2026-01-15T10:00:00Z",
}


def run(*arguments: object, cwd: Path) -> None:
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert 0 == done.returncode, done.stdout.decode()[-3000:]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the sdist, and the wheel that was built from it."""
    source = tmp_path_factory.mktemp("source") / "checkout"
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in kept.stdout.decode().split("\0"):
        if name and (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, source, cwd=source)
    return folder


@pytest.mark.parametrize("suffix", ["tar.gz", "whl"])
def test_a_package_installs_alone_and_serves(built, tmp_path, suffix):
    [package] = built.glob(f"*.{suffix}")
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    run(tmp_path / "env/bin/python", "-m", "pip", "install", "-q", package, cwd=tmp_path)
    example = (ROOT / "config.example.toml").read_text()
    config = tmp_path / "config.toml"
    config.write_text(re.sub(r'"127\.0\.0\.1:80(80|81)"', '"127.0.0.1:0"', example))

    log = tmp_path / "log"
    with log.open("wb") as stderr:
        gateway = subprocess.Popen(
            [tmp_path / "env/bin/gateway", "serve", "--config", config],
            cwd=tmp_path,
            stderr=stderr,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        )
    try:
        address = _address(gateway, log)
        request = urllib.request.Request(
            f"http://{address}/events",
            data=json.dumps([EVENT]).encode(),
            method="PUT",
            headers={"logspace.space-token": "development"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert 202 == answer.status
        gateway.send_signal(signal.SIGTERM)
        assert 0 == gateway.wait(timeout=30)
    finally:
        if gateway.poll() is None:
            gateway.kill()
            gateway.wait()


def _address(gateway: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and gateway.poll() is None:
        for line in log.read_text().splitlines():
            if '"gateway_started"' in line:
                return json.loads(line)["address"]
        time.sleep(0.05)
    raise AssertionError(log.read_text())
