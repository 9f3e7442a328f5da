"""The files that install the gateway elsewhere than by its unit: a user, folders, a container."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

CONTAINERFILE = ROOT / "Containerfile"


def run(*command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a user, even in a folder")
def test_systemd_makes_the_user_and_its_folders(tmp_path):
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    run("systemd-sysusers", root, ROOT / "deploy/sysusers.d/gateway.conf")
    run("systemd-tmpfiles", root, "--create", ROOT / "deploy/tmpfiles.d/gateway.conf")

    [line] = (tmp_path / "etc/passwd").read_text().splitlines()
    name, _, uid, _, _, home, shell = line.split(":")
    assert ("gateway", "/var/lib/gateway", "/usr/sbin/nologin") == (name, home, shell)
    state = (tmp_path / "var/lib/gateway").stat()
    assert (int(uid), 0o700) == (state.st_uid, state.st_mode & 0o777)
    assert 0o755 == (tmp_path / "etc/gateway").stat().st_mode & 0o777


def copied() -> list[str]:
    """What the first stage of the Containerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--)(.+) \S+$", CONTAINERFILE.read_text(), re.MULTILINE)
    return [name for line in lines for name in line.split()]


def test_the_container_is_given_what_it_copies_and_runs_without_rights():
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied()
    assert [] == [name for name in copied() if f"!{name}" not in let_in]
    assert [] == [name for name in copied() if not (ROOT / name).exists()]
    last = CONTAINERFILE.read_text().rpartition("\nFROM ")[2]
    [user] = re.findall(r"^USER (\d+):\d+$", last, re.MULTILINE)
    assert int(user) > 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_the_container_copies_is_enough_to_install_the_gateway(tmp_path):
    source, environment = tmp_path / "source", tmp_path / "gateway"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin/python")
    run(*pip, "install", "--quiet", "--no-cache-dir", "--compile", ".", cwd=source)

    assert "gateway, version" in run(environment / "bin/gateway", "--version", cwd=tmp_path)


def builder() -> str:
    """A program that can build an image here; skip the test if there is none."""
    reasons = []
    for name in ("podman", "buildah", "docker"):
        if shutil.which(name) is None:
            reasons.append(f"{name} is not installed")
            continue
        done = subprocess.run([name, "info"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return name
        reasons.append(f"{name} does not work: {done.stderr.strip().splitlines()[-1]}")
    pytest.skip("; ".join(reasons))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_builds_and_the_gateway_in_it_has_no_rights(tmp_path):
    name = builder()
    tag = "event-gateway-test"
    run(name, "build", "--tag", tag, "--file", CONTAINERFILE, ROOT)
    if name == "buildah":
        return
    try:
        confined = ("--rm", "--read-only", "--cap-drop", "all", "--network", "none")
        said = run(name, "run", *confined, "--entrypoint", "sh", tag, "-c", "id -u; gateway token")
        assert "10001" == said.splitlines()[0]
    finally:
        run(name, "rmi", tag)
