"""The import contracts, what is loaded at import, and that every module can be imported."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gateway
import schemas
from gateway import adapters
from gateway.adapter import Adapter
from tests.conftest import ROOT

MODULES = sorted(
    module.name
    for package in (gateway, schemas)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if module.name != "gateway.__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported(name):
    importlib.import_module(name)


def test_every_adapter_is_registered_and_has_all_its_parts():
    found = {
        member
        for module in pkgutil.iter_modules(adapters.__path__, "gateway.adapters.")
        for member in vars(importlib.import_module(module.name)).values()
        if inspect.isclass(member) and issubclass(member, Adapter) and member is not Adapter
    }

    assert found == set(adapters.ADAPTERS)
    assert [] == [one.__name__ for one in found if inspect.isabstract(one)]


def test_the_import_contracts_are_kept():
    command = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout
    assert "0 broken" in done.stdout


LOADED = """
import asyncio, sys
from gateway import cli
from gateway.app import Gateway
from gateway.checks import dialects, validate
from gateway.config import resolve

async def main():
    settings = resolve({
        "store": {"url": sys.argv[1]},
        "spool": {"path": sys.argv[2]},
        "server": {"listen": "127.0.0.1:0"},
        "ops": {"listen": "127.0.0.1:0"},
    }, dialects())
    validate(settings, "test")
    gateway = Gateway(settings)
    await gateway.start()
    await gateway.stop()
    stores = {name for name in sys.modules if name.startswith("gateway.stores.")}
    print(*sorted(stores | {"aiosqlite"} & sys.modules.keys()))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("url", "loaded"),
    [
        # The spool is a database of its own, and needs none of what reads a store.
        ("memory:", {"memory", "senders"}),
        (
            "sqlite:///{folder}/events.db",
            {
                "blocks",
                "contents",
                "search",
                "skipping",
                "sqlite",
                "bloom",
                "expiry",
                "filters",
                "keyexpiry",
                "keys",
                "lanes",
                "lookup",
                "pace",
                "reader",
                "rejects",
                "replacing",
                "removal",
                "room",
                "rows",
                "runs",
                "senders",
                "tallies",
                "url",
                "volumes",
                "writing",
                "aiosqlite",
            },
        ),
    ],
)
def test_a_gateway_loads_the_store_that_it_uses_and_no_other(tmp_path, url, loaded):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, url.format(folder=tmp_path), tmp_path / "spool.db"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    always = {
        "mentions",
        "schema",
        "shares",
        "database",
        "documents",
        "executor",
        "claim",
        "spool",
        "statements",
    }
    assert always | loaded == {name.removeprefix("gateway.stores.") for name in done.stdout.split()}
