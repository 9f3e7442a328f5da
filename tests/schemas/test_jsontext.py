"""JSON from bytes: what is accepted, and that a refusal is always the same exception."""

import json
import math
from contextlib import contextmanager
from functools import reduce
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import TooMany, Unreadable, cutting, jsontext
from schemas import arrays as arrays_of
from schemas.jsontext import MAX_DEPTH


@contextmanager
def parts_of(size: int, block: int):
    """Split in parts of *size* bytes, and search in blocks of *block* bytes."""
    with (
        patch.multiple(arrays_of, PART=size, STREAM_PART=size),
        patch.multiple(cutting, PART=size, BLOCK=block),
    ):
        yield


def split_array(body: bytes) -> list[bytes]:
    return [one for part in arrays_of.split_array(body) for one in part]


FINITE = st.floats(allow_nan=False, allow_infinity=False)
SURROGATES = st.text(st.characters(categories=["Cs"]), max_size=1)
SCALARS = st.none() | st.booleans() | st.integers() | FINITE | st.text() | SURROGATES
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)
SPACES = st.sampled_from(["", " ", "\n", "\t\r\n "])


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * levels + closing * levels).encode()


@st.composite
def arrays(draw) -> str:
    """The text of an array, written by one of several hands."""
    values = draw(st.lists(VALUES, max_size=6))
    ascii_only = draw(st.booleans())
    texts = [json.dumps(v, ensure_ascii=ascii_only or _has_surrogates(v)) for v in values]
    comma = f"{draw(SPACES)},{draw(SPACES)}"
    return f"{draw(SPACES)}[{draw(SPACES)}{comma.join(texts)}{draw(SPACES)}]{draw(SPACES)}"


def _has_surrogates(value) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


@given(arrays())
def test_splitting_an_array_gives_its_elements(text):
    body = text.encode()

    assert json.loads(body) == [json.loads(one) for one in split_array(body)]


@given(arrays(), st.integers(1, 60), st.integers(1, 9))
@example('["a\\\\",{"b":[1,",]"]}, "\\"" ]', 1, 1)
def test_the_elements_do_not_depend_on_the_parts(text, part, block):
    expected = split_array(text.encode())
    with parts_of(part, block):
        assert expected == [one.strip() for one in split_array(text.encode())]


@given(st.lists(VALUES, min_size=1, max_size=6), st.sampled_from(["", ",", "[", "x"]))
def test_whatever_follows_the_last_part_of_a_large_array_is_an_error(values, tail):
    body = json.dumps(values * 5).encode()
    with parts_of(len(body) // 3, 7), pytest.raises(Unreadable):
        split_array(body[:-1] + tail.encode())


def test_a_large_batch_is_split_in_parts():
    events = [f'{{"id": "{at}", "a": [{{"n": 1}}, {{"n": 2}}]}}' for at in range(60_000)]
    body = f"[{', '.join(events)}".encode()
    assert len(body) > 2 * cutting.PART
    found = list(arrays_of.split_array(body + b"]"))
    assert len(found) < 3 * len(body) / cutting.PART
    assert events == [one.decode() for part in found for one in part]

    for last in (b"]x", b",]", b"", b"]]"):
        with pytest.raises(Unreadable):
            list(arrays_of.split_array(body + last))


@given(arrays())
def test_each_element_keeps_its_exact_text(text):
    body = text.encode()
    at = 0
    for one in split_array(body):
        assert one == one.strip(b" \t\r\n")
        at = body.index(one, at) + len(one)


@given(arrays(), st.data())
def test_a_damaged_array_is_split_only_if_it_is_json(text, data):
    at = data.draw(st.integers(0, len(text) - 1))
    wrong = text[:at] + data.draw(st.sampled_from(["", ",", "]", "[", '"', "\\", "0", "\x00"]))
    body = (wrong + text[at + data.draw(st.integers(0, 1)) :]).encode()
    try:
        expected = json.loads(body.decode())
    except ValueError:
        with pytest.raises(Unreadable):
            split_array(body)
        return
    if isinstance(expected, list):
        # As text: a mutation may have made a NaN, which equals nothing.
        assert repr(expected) == repr([json.loads(one) for one in split_array(body)])
    else:
        with pytest.raises(Unreadable):
            split_array(body)


@given(st.binary() | st.text().map(str.encode))
@example(b'{"a":1}'.decode().encode("utf-16-le"))
@example("[1]".encode("utf-16-be"))
def test_any_bytes_are_loaded_or_raise_unreadable(body):
    for read in (jsontext.require_utf8, jsontext.loads):
        try:
            read(body)
        except Unreadable as error:
            assert str(error)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", []),
        (b" [ ] ", []),
        (b'[{"a":NaN},{"b":1}]', [b'{"a":NaN}', b'{"b":1}']),
        (b"[-Infinity , Infinity]", [b"-Infinity", b"Infinity"]),
        (rb'["\ud800", {"b":2.50}]', [rb'"\ud800"', b'{"b":2.50}']),
        (b"[1e400,9]", [b"1e400", b"9"]),
        (b"[" + b"1" * 5000 + b",NaN]", [b"1" * 5000, b"NaN"]),
        ('[NaN,"é中\u2028"]'.encode(), [b"NaN", '"é中\u2028"'.encode()]),
    ],
)
def test_nan_and_lone_surrogates_are_split_unchanged(body, expected):
    assert expected == split_array(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'"[]"',
        b"null",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1]]",
        b"[1][2]",
        b"[1] x",
        b"[NaN]]",
        b"[NaN,]",
        b"[NaN x]",
        b"['a']",
        b"[01]",
        b"[nan]",
        b"[/**/1]",
        b'["\\q"]',
        b'["\x01"]',
        b'["a\nb"]',
        b'[{"a":1,}]',
        b"[\x0b1]",
        b"[" * 100_000,
        b'[{"a":' * 20_000,
    ],
)
def test_a_body_that_is_not_an_array_cannot_be_split(body):
    with pytest.raises(Unreadable):
        split_array(body)


@pytest.mark.parametrize("levels", [65, 990, 1500, 5000, 100_000])
def test_an_element_nested_too_deeply_does_not_affect_the_others(levels):
    deep = b'{"a]":' * levels + b'"}"' + b"}" * levels

    assert [b"1", deep, b"2"] == split_array(b"[1, " + deep + b" ,2]")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(("levels", "readable"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_a_document_has_at_most_64_levels(opening, closing, levels, readable):
    text = (opening * levels).removesuffix(":").encode() + b":1" * (opening != "[")
    text += closing.encode() * levels
    if readable:
        assert json.loads(text) == jsontext.loads(text)
    else:
        with pytest.raises(Unreadable, match="64"):
            jsontext.loads(text)


@pytest.mark.parametrize("levels", [1000, 5000, 200_000])
def test_extreme_nesting_is_unreadable_and_does_not_crash(levels):
    with pytest.raises(Unreadable, match="Nested"):
        jsontext.loads(nested(levels))


@pytest.mark.parametrize("levels", [1000, 5000, 200_000])
def test_extreme_nesting_without_a_limit_is_read_and_written_or_unreadable(levels):
    text = nested(levels)
    # How deeply Python's own decoder can read depends on its version.
    try:
        written = jsontext.dumps(jsontext.loads(text, max_depth=None)).encode()
    except Unreadable as error:
        written = text
        assert "Nested" in str(error)
    assert text == written


@given(VALUES, st.integers(0, 70))
def test_depth_counts_arrays_and_objects_but_not_strings(value, levels):
    wrapped = reduce(lambda inner, at: [inner] if at % 2 else {"[{": inner}, range(levels), value)
    text = json.dumps(wrapped).encode()

    assert (_depth(wrapped) > MAX_DEPTH) == jsontext.depth_exceeds(text)


def _depth(value) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 0


@pytest.mark.parametrize("filling", [rb"\"", b'"', rb"\\", b'"a', b"[]", b"}{"])
def test_the_depth_of_any_megabyte_is_found_quickly(filling):
    # Were it to look at each quote anew, this would take hours, and the suite's timeout.
    hostile = b"[" * MAX_DEPTH + filling * (1_000_000 // len(filling))

    assert jsontext.depth_exceeds(hostile) in (True, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"1208925819614629174706176", 2**80),
        (rb'"\ud800\u0000"', "\ud800\x00"),
        (b"-0", 0),
        (b"1e400", math.inf),
        (b"1" * 4300, int("1" * 4300)),
        (b"-" + b"1" * 5000, -math.inf),
    ],
)
def test_json_is_loaded_as_the_standard_says(text, expected):
    assert expected == jsontext.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1 2",
        b"{} {}",
        b"0045",
        b"{a: 1}",
        b'{"a": }',
        b"tru",
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32-be"),
    ],
)
def test_text_that_is_not_json_in_utf8_is_unreadable(text):
    with pytest.raises(Unreadable):
        jsontext.loads(text)


@pytest.mark.parametrize("text", [b"1e400", b"[-1e309]", b"1" * 5000, b"1" * 310 + b".5"])
def test_a_number_beyond_a_double_is_unreadable_if_numbers_must_be_finite(text):
    with pytest.raises(Unreadable, match="too large"):
        jsontext.loads(text, finite=True)


@given(FINITE | st.integers(-(10**400), 10**400))
def test_a_number_that_may_not_overflow_is_finite(number):
    text = json.dumps({"n": number}).encode()
    if not jsontext.may_overflow(text):
        assert math.isfinite(float(json.loads(text)["n"]))


@pytest.mark.parametrize("text", [b"[1e400]", b'{"a":-1E+309}', b"[" + b"1" * 309 + b"]"])
def test_a_number_that_overflows_is_detected(text):
    assert jsontext.may_overflow(text)


def test_nan_and_infinities_are_dumped_as_strings():
    document = {"a": [math.nan, math.inf, -math.inf, 1.5], "b": {"c": math.inf}}

    assert '{"a":["NaN","Infinity","-Infinity",1.5],"b":{"c":"Infinity"}}' == (
        jsontext.dumps(document)
    )


@given(VALUES)
def test_dumped_json_loads_equal(value):
    assert value == jsontext.loads(jsontext.dumps(value).encode(), max_depth=None)


@pytest.mark.parametrize("levels", [500, 990])
def test_a_document_nested_too_deeply_to_be_dumped_is_unreadable(levels):
    document = reduce(lambda inner, _: [inner], range(levels), 0)
    try:
        assert nested(levels).replace(b"[]", b"[0]") == jsontext.dumps(document).encode()
    except Unreadable as error:
        assert "deep" in str(error)


@given(st.dictionaries(st.text(), VALUES))
def test_canonical_text_does_not_depend_on_the_order_of_members(document):
    assert jsontext.canonical(document) == jsontext.canonical(dict(reversed(document.items())))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        ("1", 1),
        ([1, 2], [2, 1]),
        (None, False),
        ({}, []),
        (2**80, 2**80 + 1),
        (2**80, float(2**80)),
        ("\ud800", "\ud801"),
        ("\ud800", "\\ud800"),
    ],
)
def test_canonical_text_differs_for_different_values(one, other):
    assert jsontext.canonical({"v": one}) != jsontext.canonical({"v": other})


def test_canonical_text_is_the_same_for_the_same_number():
    assert jsontext.canonical(json.loads("[2.5]")) == jsontext.canonical(json.loads("[2.50]"))


def test_strict_canonical_text_refuses_a_lone_surrogate():
    with pytest.raises(UnicodeEncodeError):
        jsontext.canonical(["\ud800"], strict=True)


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t ", b"\xff", b"a\xc3", b"\xed\xa0\x80"])
def test_blank_bodies_and_invalid_utf8_are_unreadable(body):
    with pytest.raises(Unreadable):
        jsontext.require_utf8(body)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_a_body_of_a_byte_order_mark_alone_is_blank(body):
    with pytest.raises(Unreadable, match="empty"):
        jsontext.require_utf8(body)


def test_a_byte_order_mark_is_dropped():
    assert b"[]" == jsontext.require_utf8(b"\xef\xbb\xbf[]")


def test_the_limit_of_depth_counts_no_neighbours():
    text = b"[" + nested(MAX_DEPTH - 1) + b",[],[{}]" * 50 + b"]"

    assert not jsontext.depth_exceeds(text)
    assert jsontext.depth_exceeds(b"[" + text + b"]")


@pytest.mark.parametrize("element", [b"1", b"NaN", b'{"a":[1,2,3,4,5,6]}'])
def test_an_array_with_too_many_elements_is_refused(monkeypatch, element):
    monkeypatch.setattr(arrays_of, "MAX_ELEMENTS", 100)
    most = b"[" + b",".join([element] * 100) + b"]"

    assert [element] * 100 == split_array(most)
    with pytest.raises(TooMany, match="100"):
        split_array(most[:-1] + b"," + element + b"]")


def _opens_and_commas(node) -> int:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return sum(map(_opens_and_commas, inner)) + (
        max(len(node), 1) if isinstance(node, dict | list) else 0
    )


@given(VALUES, st.integers(1, 12), st.integers(1, 9))
@example(['\\"[', {"\\": "{,"}], 3, 1)
def test_values_and_levels_are_counted_outside_of_strings(document, limit, block):
    text = json.dumps(document).encode()
    with patch.object(jsontext, "_BLOCK", block):
        assert (_depth(document) > limit) == jsontext.depth_exceeds(text, limit)
        counted = _opens_and_commas(document) >= limit
        assert counted == jsontext.values_exceed(text, limit) or text.count(b'"') > 4 * limit
