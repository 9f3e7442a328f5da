"""Compiles the shim."""

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
FLAGS = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")


def compile_shim(folder: Path) -> Path | None:
    """The shim's shared library in *folder*; None where it cannot be made."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        return None
    library = folder / "shim.so"
    subprocess.run(["cc", *FLAGS, "-o", library, SOURCE, "-ldl"], check=True)
    return library
