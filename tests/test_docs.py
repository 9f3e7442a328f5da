"""The pages: links and anchors lead somewhere, lines are short, and lists match the code."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "deploy/*.md") for path in ROOT.glob(pattern)
)
WIDTH = 100

_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page outside of code blocks."""
    code = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            yield number, line


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = [line.lstrip("# ") for _, line in prose(page) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_and_anchor_of_a_page_exists(page: Path):
    missing = []
    for number, line in prose(page):
        for path, anchor in _LINK.findall(line):
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                missing.append(f"{name(page)}:{number}: {path}#{anchor}")

    assert [] == missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_of_prose_are_short(page: Path):
    # A link or a name without spaces cannot be wrapped, and a table row has to be one line.
    long = [
        number
        for number, line in prose(page)
        if len(line) > WIDTH and " " in line.strip()[:WIDTH] and not line.lstrip().startswith("|")
    ]

    assert [] == long


def test_the_architecture_page_shows_the_layers_that_are_enforced():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [
        one["layers"] for one in contracts["contracts"] if one.get("containers") == ["gateway"]
    ]
    page = (ROOT / "docs/architecture.md").read_text()

    shown = "\n".join(layer for layer in layers if layer != "__main__")
    assert f"```text\n{shown}\nschemas\n```" in page
