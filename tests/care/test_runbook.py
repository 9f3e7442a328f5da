"""The commands of the operating page work as pasted, under load and on damaged files."""

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextlib import closing as closed
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.care.conftest import spoil, traffic
from tests.conftest import ROOT, Process
from tests.system.wire import ask, name_of, one_call

PAGE = (ROOT / "docs/operating.md").read_text()
CARE = PAGE[PAGE.index("\n## Back up and restore\n") : PAGE.index("\n## Upgrade\n")]
BLOCKS = [textwrap.dedent(text) for text in re.findall(r"```sh\n(.*?)\n *```", CARE, re.DOTALL)]

# Asks the test, which owns the process, and waits until it has done so.
SYSTEMCTL = """#!/bin/sh
test "$2" = gateway || exit 1
echo "$1" > "{asked}.new" && mv "{asked}.new" "{asked}"
while [ -e "{asked}" ]; do sleep 0.05; done
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3 is not installed"),
]


class Operator:
    """Somebody with the page, a machine on which its paths exist, and a gateway that runs."""

    def __init__(self, process: Process, machine: Path) -> None:
        self.process = process
        self.used: set[str] = set()
        self._machine = machine
        self._asked = machine / "asked"
        commands = machine / "bin"
        commands.mkdir()
        self._script(commands / "systemctl", SYSTEMCTL.format(asked=self._asked))
        self._script(commands / "gateway", f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
        self._paths = {
            "/opt/gateway/bin": commands,
            "/etc/gateway/config.toml": process.config,
            "/var/lib/gateway": process.folder,
            "/backup": machine / "backup",
            "/archive": process.folder,
        }

    @staticmethod
    def _script(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Start and stop the gateway when `systemctl` is asked to."""

        async def serve() -> None:
            while True:
                await asyncio.sleep(0.05)
                if self._asked.exists():
                    if self._asked.read_text().strip() == "start":
                        await asyncio.to_thread(self.process.start)
                    elif self.process.process.poll() is None:
                        await asyncio.to_thread(self.process.stop)
                    self._asked.unlink()

        task = asyncio.create_task(serve())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def paste(self, part: str, status: int = 0, **names: str) -> str:
        """Run the block that is *part* or contains it, with dated *names* as they are here."""
        block = part if part in BLOCKS else next(one for one in BLOCKS if part in one)
        self.used |= {BLOCKS[0], block}
        text = f"set -e\n{BLOCKS[0]}\n{block}"
        for page, here in self._paths.items():
            text = re.sub(rf"(?<![\w-]){re.escape(page)}(?![\w-])", str(here), text)
        for page, here in names.items():
            text = text.replace(DATED[page], here)
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", text],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert status == done.returncode, (text, done.stdout, done.stderr)
        return done.stdout


DATED = {
    "backup": "2026-01-15T020000Z",
    "sealed": "events-2026-01-15T020000Z.db",
    "day": "2026-01-15",
}


def names_in(process: Process, *stores: Path) -> list[str]:
    return [
        name_of(one) for path in stores for one in process.export("--store", f"sqlite:///{path}")
    ]


@pytest.fixture
async def operator(process: Process, tmp_path: Path) -> AsyncIterator[Operator]:
    process.start()
    machine = tmp_path / "machine"
    machine.mkdir()
    operator = Operator(process, machine)
    async with operator.serving():
        yield operator


async def test_the_care_runbook_works_as_pasted(operator):
    process, folder = operator.process, operator.process.folder
    async with traffic(process) as story:
        await asyncio.sleep(1)
        await operator.paste("gateway backup")
        assert "ok" in await operator.paste("gateway verify")
        assert "takes events" in await operator.paste("gateway doctor")
        today = datetime.now(UTC).date().isoformat()
        # The traffic is younger than the page's day. It has no such subject.
        assert await operator.paste("gateway prune", day=f"{today}T23:59:59Z")
        await operator.paste("gateway rotate")
        await asyncio.sleep(0.5)
    [backup] = (folder / "machine" / "backup").iterdir()
    [sealed] = folder.glob("events-*.db")
    assert await operator.paste("gateway export --store", sealed=sealed.name)
    assert 10 == len((await operator.paste("FROM record")).splitlines())
    for question in BLOCKS:
        if question.startswith("sqlite3 -readonly "):
            await operator.paste(question)

    await operator.paste("gateway restore", backup=backup.name)
    [replaced] = folder.glob("replaced-events-*/events.db")
    assert story.acknowledged <= set(names_in(process, folder / "events.db", sealed, replaced))
    assert 201 == (await ask(process.url, one_call())).status

    kept = names_in(process, folder / "events.db")
    process.stop()
    pages = (folder / "events.db").stat().st_size // 8192
    spoil(folder / "events.db", pages // 2)
    await operator.paste("gateway verify", status=65)
    recovered = await operator.paste("gateway recover")
    assert "recovered.db" in recovered
    await operator.paste("mkdir damaged")
    left = names_in(process, folder / "events.db")
    assert set() < set(left) < set(kept)
    assert 201 == (await ask(process.url, one_call())).status

    process.stop()
    with closed(sqlite3.connect(folder / "events.db", isolation_level=None)) as db:
        db.execute("INSERT INTO sealed_run (run, last_seq) SELECT 7, max(seq) FROM event")
    process.start()
    await operator.paste("gateway verify", status=65)
    await operator.paste("gateway rebuild-keys")
    await operator.paste("gateway verify")
    assert 201 == (await ask(process.url, one_call())).status

    assert [] == [one for one in BLOCKS if one not in operator.used]
