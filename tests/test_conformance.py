"""The tests that the pages on conformance, reliability and security name exist."""

import re

import pytest

from tests.conftest import ROOT

PAGES = {
    page: re.findall(r"`(tests/[\w/]+\.(?:py|c))(?:::(\w+))?`", (ROOT / page).read_text())
    for page in ("docs/dialects/conformance.md", "docs/reliability.md", "docs/security.md")
}
NAMED = sorted({one for named in PAGES.values() for one in named})


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_a_table_names_exists(file, name):
    text = (ROOT / file).read_text()
    assert not name or f"def {name}(" in text


@pytest.mark.parametrize("page", PAGES)
def test_a_table_names_tests(page):
    assert len(PAGES[page]) > 25


def test_every_promise_names_a_test():
    text = (ROOT / "docs/reliability.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [] == [row for row in rows if not re.search(r"`tests/[\w/]+\.py::test_\w+`", row)]
