"""The systemd units are valid and give the service few rights."""

import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent / "deploy"
UNIT = DEPLOY / "gateway.service"
THRESHOLD = 15
"""Exposure in tenths, from 0 for none to 100: network access alone costs about 10."""

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def _analyze(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_unit_exposes_little():
    done = _analyze("security", "--offline=true", f"--threshold={THRESHOLD}", UNIT)

    assert 0 == done.returncode, done.stdout + done.stderr


def test_systemd_understands_every_line_of_the_units(tmp_path: Path):
    units = [*DEPLOY.glob("*.service"), *DEPLOY.glob("*.socket")]
    assert 3 == len(units)
    for unit in units:
        # Verification wants the command to exist, and nobody has installed it here.
        text = unit.read_text().replace("/opt/gateway/bin/gateway", "/bin/true")
        (tmp_path / unit.name).write_text(text)

    done = _analyze("verify", *tmp_path.iterdir())

    assert (0, "") == (done.returncode, done.stderr)
