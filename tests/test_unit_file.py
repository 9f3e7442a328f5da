"""The systemd unit is valid and gives the service few rights."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "deploy" / "gateway.service"
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


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path):
    # Verification wants the command to exist, and nobody has installed it here.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/gateway/bin/gateway", "/bin/true"))

    done = _analyze("verify", unit)

    assert (0, "") == (done.returncode, done.stderr)
