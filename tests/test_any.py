"""Whoever reads a public signature learns its types: `Any` there needs a reason beside it."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

MODULES = sorted(path for name in ("gateway", "schemas") for path in (ROOT / name).rglob("*.py"))
REASON = "# Any: "


def mentions(annotation: ast.expr | None) -> Iterator[int]:
    """The lines of *annotation* that say Any, in text as well."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            inner = ast.parse(node.value, mode="eval").body
            yield from (node.lineno for _ in mentions(inner))
        elif "Any" in (getattr(node, "id", None), getattr(node, "attr", None)):
            yield node.lineno


def functions(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]


def decorators(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [ast.unparse(one).rpartition(".")[2] for one in function.decorator_list]


def annotations(body: list[ast.stmt]) -> Iterator[ast.expr | None]:
    """The annotations of what is public in a module or a class."""
    overloaded = {one.name for one in functions(body) if "overload" in decorators(one)}
    for node in body:
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            yield node.annotation
            yield node.value if ast.unparse(node.annotation) == "TypeAlias" else None
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from node.bases
            yield from annotations(node.body)
    for function in functions(body):
        private = function.name.startswith("_") and not function.name.endswith("__")
        # Callers see the overloads of a function, not the signature below them.
        hidden = function.name in overloaded and "overload" not in decorators(function)
        if not private and not hidden:
            given = function.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            every += [one for one in (given.vararg, given.kwarg) if one is not None]
            yield from (one.annotation for one in every)
            yield function.returns


def unexplained(source: str) -> list[int]:
    """The lines of *source* on which a public signature says Any, and nothing says why."""
    lines = source.splitlines()
    found = {at for one in annotations(ast.parse(source).body) for at in mentions(one)}
    return sorted(at for at in found if not lines[at - 1].partition(REASON)[2].strip())


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_any_in_a_public_signature_has_a_reason_beside_it(module):
    assert [] == unexplained(module.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: Any): ...",
        "async def f(*, x: dict[str, Any] = {}): ...",
        "def f(**x: Any): ...",
        "def f() -> 'list[Any]': ...",
        "class C:\n    def __init__(self, x: typing.Any): ...",
        "class C:\n    x: Any = None",
        "class C(Base[Any]): ...",
        "x: Any = 1  # Any:",
        "@overload\ndef f(x: Any): ...\ndef f(x: object): ...",
    ],
)
def test_the_check_finds_any_wherever_it_is_public(source: str):
    assert unexplained(source)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: Any): ...  # Any: JSON may be anything",
        "def _f(x: Any): ...",
        "class _C:\n    def f(self, x: Any): ...",
        "class C:\n    def f(self):\n        x: Any = 1",
        "@overload\ndef f(x: int): ...\ndef f(x: Any): ...",
    ],
)
def test_the_check_leaves_alone_what_is_explained_or_private(source: str):
    assert [] == unexplained(source)
