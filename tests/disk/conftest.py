"""The shim, built once, where there is a compiler."""

import os
from pathlib import Path

import pytest

from tests.disk.building import compile_shim


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim's shared library."""
    library = compile_shim(tmp_path_factory.mktemp("shim"))
    if library is None:
        reason = "the shim needs Linux and a C compiler"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return library
