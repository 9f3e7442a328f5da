"""The tests that the conformance page names exist."""

import re

import pytest

from tests.conftest import ROOT

NAMED = re.findall(
    r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/dialects/conformance.md").read_text()
)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_a_test_that_the_conformance_table_names_exists(file, name):
    assert f"def {name}" in (ROOT / file).read_text()


def test_the_conformance_table_names_tests():
    assert len(NAMED) > 40
