"""No private name of a dependency is used, inherited ones included.

ruff's SLF001 does not see ``self._messages`` in a subclass of a dependency's class.
Here a private name is our own only if the code of the same file defines it, and a
class may use a private name on itself only if no foreign base class has it.
"""

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT

OURS = ("gateway", "schemas")
MODULES = sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))

DOCUMENTED = {
    # marshmallow's documentation asks for these to be overridden in a field of one's own.
    "_deserialize",
    "_serialize",
    "_validated",
    # Methods of every NamedTuple, named so that they do not clash with its fields.
    "_replace",
    "_asdict",
    "_make",
    "_fields",
}


def private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def defined_in(tree: ast.AST) -> set[str]:
    """Every private name that *tree* defines: functions, classes, variables, attributes of self."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) in ("self", "cls")
        ):
            found.add(node.attr)
    return {name for name in found if private(name)}


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every private name that is asked of an object or imported, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names.insert(0, node.module or "")
            parts = ".".join(names).split(".")
            yield from ((node.lineno, part) for part in parts if private(part))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("attr"):
            for given in node.args[1:2]:
                if isinstance(given, ast.Constant) and private(str(given.value)):
                    yield node.lineno, str(given.value)


def foreign_names(cls: type) -> set[str]:
    """The private names of the bases of *cls* that are not ours: methods, slots, attributes."""
    foreign = (
        base for base in cls.__mro__ if base.__module__.split(".")[0] not in (*OURS, "builtins")
    )
    return {name for base in foreign for name in names_of(base)}


@functools.cache
def names_of(base: type) -> frozenset[str]:
    """The private names of a class."""
    found = {name for name in vars(base) if private(name)}
    with suppress(OSError, TypeError):  # a class without a source
        source = inspect.getsource(base)
        found |= set(re.findall(r"\bself\.(_[a-z]\w*)\s*(?::[^=\n]+)?=[^=]", source))
    # Python and abc put these into every class.
    return frozenset(name for name in found if not name.startswith("_abc_"))


def private_names(source: str, classes: dict[str, type]) -> list[str]:
    """What *source* uses of others' private names; *classes* are its own, by name."""
    tree = ast.parse(source)
    own = defined_in(tree)
    wrong = [f"{line}: {name}" for line, name in uses(tree) if name not in own | DOCUMENTED]
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            taken = foreign_names(classes[node.name]) - DOCUMENTED
            both = taken & (defined_in(node) | {name for _, name in uses(node)})
            wrong += [f"{node.lineno}: {node.name} has {name} of a base class" for name in both]
    return sorted(set(wrong))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_private_name_of_a_dependency_is_used(path):
    module = importlib.import_module(module_name(path)) if path.stem != "__main__" else None
    classes = (
        {name: one for name, one in vars(module).items() if isinstance(one, type)} if module else {}
    )

    assert [] == private_names(path.read_text(), classes)


SAMPLES = {
    "from aiohttp.web_protocol import _ErrInfo": "_ErrInfo",
    "import marshmallow._internal": "_internal",
    "def size(connection): return len(connection._messages)": "_messages",
    "def hooks(schema): return getattr(schema, '_hooks')": "_hooks",
    "import aiosqlite\nasync def run(db: aiosqlite.Connection): await db._execute(len)": "_execute",
    """
    from aiohttp import web
    class Connection(web.RequestHandler):
        def busy(self): return bool(self._messages)
    """: "_messages",
    """
    from aiohttp import web
    class Connection(web.RequestHandler):
        def start(self): self._keepalive = True
    """: "_keepalive",
    """
    from aiohttp import web
    class Request(web.BaseRequest):
        def _cancel(self, error): pass
    """: "_cancel",
    """
    import structlog
    class Logger(structlog.make_filtering_bound_logger(20)):
        def info(self, event, **keys): self._logger.msg(event)
    """: "_logger",
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_search_finds_private_names(sample):
    source = textwrap.dedent(sample)
    scope: dict[str, object] = {}
    if "class " in source:
        exec(source, scope)
    classes = {name: one for name, one in scope.items() if isinstance(one, type)}

    assert SAMPLES[sample] in " ".join(private_names(source, classes))


def test_the_search_lets_own_names_be():
    source = """
class Own:
    __slots__ = ("_a",)
    def __init__(self): self._a = self._b()
    def _b(self): return _c
_c = 1
"""
    assert [] == private_names(source, {})
