"""Where in a text the value of a path is."""

import pytest

from schemas.places import place_of


def shown(text: str, path: str) -> tuple[str, bool] | None:
    raw = text.encode()
    place = place_of(raw, path)
    return None if place is None else (raw[place.start : place.end].decode(), place.missing)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ('{"a": {"b": [1, {"c": "x"}]}}', "a.b[1].c", '"x"'),
        ('{"a": {"b": [1, {"c": "x"}]}}', "a.b[0]", "1"),
        ('[{"a": 1}, {"a": [2, 3]}]', "[1].a", "[2, 3]"),
        (' {"a.b": 1, "a": {"b": 2}}', "a.b", "1"),
        ('{"a": {"b": 2}, "a.b": 1}', "a.b", "1"),
        ('{"\\u0061": 7}', "a", "7"),
        ('{"é": "é\\"}", "z": true}', "z", "true"),
        ('{"x": "a:b", "y": {}}', "y", "{}"),
        ('["a:", "b"]', "[1]", '"b"'),
        (" 5 ", "", "5"),
    ],
)
def test_a_value_is_found_by_its_path(text, path, value):
    assert (value, False) == shown(text, path)


@pytest.mark.parametrize(
    ("text", "path", "within"),
    [
        ('{"a": {"x": 1}}', "a.b", '{"x": 1}'),
        ('{"a": {"x": 1}}', "a.b.c", '{"x": 1}'),
        ('{"a": [1, 2]}', "a[2]", "[1, 2]"),
        ('{"ab": 1}', "a", '{"ab": 1}'),
        ('{"a": 5}', "a.b", "5"),
    ],
)
def test_what_is_missing_is_told_with_what_lacks_it(text, path, within):
    assert (within, True) == shown(text, path)


@pytest.mark.parametrize(
    "text", ["", "x", '{"a', '{"a"', '{"a":', '{"a": }', "[", '{"a" 1}', "{,}"]
)
@pytest.mark.parametrize("path", ["a", "[0]", "a.b[3]"])
def test_text_that_is_no_json_has_no_place_or_one_within_it(text, path):
    place = place_of(text.encode(), path)

    assert place is None or 0 <= place.start < place.end <= len(text)
