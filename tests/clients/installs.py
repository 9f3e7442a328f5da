"""What the real clients need, installed once into `.clients/` and found again after that.

The SDKs' own dependencies must not mix with the project's, so the Python ones
get a virtual environment of their own. A stamp holds what was asked for; an
installation whose stamp differs is made anew.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
CLIENTS = HERE.parent.parent / ".clients"


def python_sdks() -> Path:
    """The interpreter of an environment that has the Python SDKs and three web frameworks."""
    wanted = HERE / "python" / "requirements.txt"
    folder = CLIENTS / "python"
    interpreter = folder / "bin" / "python"

    def install() -> None:
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(interpreter), "-m", "pip", "install", "--quiet", "--requirement", str(wanted))

    _once(folder, wanted.read_text() + sys.version, install)
    return interpreter


def node_sdks() -> Path:
    """The `node_modules` folder that holds the SDKs for Node and the browser."""
    if not (shutil.which("node") and shutil.which("npm")):
        unavailable("node and npm are not installed")
    wanted = HERE / "node" / "package.json"
    folder = CLIENTS / "node"

    def install() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(wanted, folder)
        quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
        _run("npm", "install", *quiet, cwd=folder)

    _once(folder, wanted.read_text(), install)
    return folder / "node_modules"


def chromium() -> str:
    """The path of a Chromium; Debian's package is installed when there is none."""
    with _alone():
        if not _chromium() and os.geteuid() == 0 and shutil.which("apt-get"):
            _run("apt-get", "update", "--quiet=2")
            _run("apt-get", "install", "--quiet=2", "--yes", "chromium")
    return _chromium() or unavailable("Chromium is not installed: apt-get install chromium")


def unpacked(package: str, folder: Path) -> Path:
    """The *folder* that has the files of Debian's newest *package*, which is not installed.

    So none of its services starts, and nobody has to be root.
    """

    def unpack() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        download = "apt-get", "download", "--quiet=2", package
        if not _succeeds(*download, cwd=folder):
            # The lists of packages may be old, or missing.
            if os.geteuid() == 0:
                _succeeds("apt-get", "update", "--quiet=2", cwd=folder)
            if not _succeeds(*download, cwd=folder):
                unavailable(f"Debian's package {package} cannot be downloaded")
        [archive] = folder.glob("*.deb")
        _run("dpkg-deb", "--extract", str(archive), str(folder))
        archive.unlink()

    _once(folder, package, unpack)
    return folder


def unavailable(reason: str) -> NoReturn:
    """Skip the test; where everything is to be proven, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _once(folder: Path, wanted: str, install: Callable[[], None]) -> None:
    stamp = folder / "installed"
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    with _alone():
        if stamp.exists() and stamp.read_text() == digest:
            return
        install()
        stamp.write_text(digest)


@contextmanager
def _alone() -> Iterator[None]:
    # Several test processes may start at once; the first installs, the others wait.
    CLIENTS.mkdir(exist_ok=True)
    with (CLIENTS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _succeeds(*command: str, cwd: Path) -> bool:
    return not subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
