"""An array that arrives bit by bit gives what the same array gives as a whole."""

import json
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import TooMany, Unreadable
from schemas import arrays as arrays_of
from schemas.arrays import ArrayStream
from schemas.jsontext import require_utf8
from tests.schemas.test_jsontext import arrays, parts_of, split_array

ANY = 1 << 30
MUTATIONS = ["", ",", "]", "[", '"', "\\", "0", "\x00", " ", "NaN", "[]", ",,"]


def pieces_of(body, sizes):
    """The body in pieces of these sizes; the last size counts for all that remain."""
    at = 0
    for number in range(len(body)):
        if at >= len(body):
            return
        size = sizes[min(number, len(sizes) - 1)]
        yield body[at : at + size]
        at += size


def streamed(body, sizes, keep=ANY):
    stream = ArrayStream(keep)
    found = []
    for piece in pieces_of(body, sizes):
        for part in stream.feed(piece):
            found += part
    for part in stream.close():
        found += part
    assert len(found) == stream.found
    assert 0 == stream.held
    return found


def whole(body):
    return split_array(require_utf8(body))


def outcome(split, body, *more):
    """The elements without spaces around them, or the words of the fault."""
    try:
        return [one.strip() for one in split(body, *more)]
    except Unreadable as error:
        return str(error)


CUTTINGS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@given(arrays(), CUTTINGS, st.integers(1, 60), st.integers(1, 9))
@example('["a\\\\",{"b":[1,",]"]}, "\\"" ]', [1], 1, 1)
@example("[ ]", [1], 1, 1)
def test_the_elements_do_not_depend_on_how_the_array_arrives(text, sizes, part, block):
    body = text.encode()
    expected = [one.strip() for one in split_array(body)]
    with parts_of(part, block):
        assert expected == [one.strip() for one in streamed(body, sizes)]


@given(arrays(), CUTTINGS, st.integers(1, 60), st.integers(1, 9), st.data())
def test_a_damaged_array_is_read_if_and_only_if_it_is_as_a_whole(text, sizes, part, block, data):
    at = data.draw(st.integers(0, len(text) - 1))
    wrong = text[:at] + data.draw(st.sampled_from(MUTATIONS))
    body = (wrong + text[at + data.draw(st.integers(0, 1)) :]).encode()
    # The standard library's words are for small bodies, and small bodies are not streamed.
    with parts_of(part, block), patch.object(arrays_of, "_EXPLAINED", 0):
        assert outcome(whole, body) == outcome(streamed, body, sizes)


@given(arrays(), CUTTINGS, st.integers(1, 60), st.integers(1, 9), st.integers(1, 20))
def test_of_a_large_element_only_the_beginning_is_kept(text, sizes, part, block, keep):
    body = text.encode()
    expected = [one.strip() for one in split_array(body)]
    with parts_of(part, block):
        found = streamed(body, sizes, keep)
    assert [one[:keep] for one in expected] == [one[:keep] for one in found]
    # What is larger than what is kept is seen to be.
    for one, whole in zip(found, expected, strict=True):
        assert one == whole or (len(one) >= keep and len(whole) > keep)


@given(arrays(), CUTTINGS, st.data())
def test_a_byte_that_is_not_utf_8_is_named_wherever_it_is(text, sizes, data):
    body = text.encode()
    at = data.draw(st.integers(0, len(body)))
    wrong = body[:at] + data.draw(st.sampled_from([b"\xff", b"\xc3", b"\xe2\x82"])) + body[at:]
    try:
        wrong.decode()
    except UnicodeDecodeError as error:
        with pytest.raises(Unreadable) as raised:
            streamed(wrong, sizes)
        assert f"Not UTF-8: byte {error.start} is invalid." == str(raised.value)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xef\xbb\xbf[1]", [b"1"]),
        (b"\xef\xbb\xbf\xef\xbb\xbf[1]", "Expected a JSON array."),
        (b"", "The body is empty."),
        (b"\xef\xbb\xbf  \n", "The body is empty."),
        (b" \n", "The body is empty."),
        (b"[", "Not JSON: an array, an object or a string is not closed."),
        (b'{"a":1}', "Expected a JSON array."),
        (b'[1,"', "Not JSON: an array, an object or a string is not closed."),
        (b"[1]x", "Not JSON: more text after byte 2."),
        (b"[1,]", "Not JSON: the element at byte 3 is not."),
        ("[1]".encode("utf-16"), "Not UTF-8: byte 0 is invalid."),
        ("[1]".encode("utf-16-be"), "Expected a JSON array."),
        ("[1]".encode("utf-16-le"), "Not JSON: the element at byte 1 is not."),
        (b"[\xe2\x82", "Not UTF-8: byte 1 is invalid."),
    ],
)
def test_whatever_opens_or_ends_a_stream_is_told(body, expected, size):
    assert expected == outcome(streamed, body, [size])


def test_a_giant_element_is_not_held():
    stream = ArrayStream(keep=1000)
    found = list(stream.feed(b'[1, {"a":"'))
    for _ in range(20):
        found += stream.feed(b"x" * (1 << 20))
        assert stream.held < 1 << 21
    found += stream.feed(b'"}  , 2]')
    found += stream.close()
    [one, giant, two] = [element for part in found for element in part]

    assert (b"1", 1000, b"2") == (one, len(giant), two)
    assert giant.startswith(b'{"a":"xxx')


def test_spaces_of_any_length_are_not_part_of_an_element():
    body = b"[" + b" " * 3_000_000 + b'{"a":1}' + b"\n" * 3_000_000 + b", 2" + b" " * 3_000_000
    expected = [b'{"a":1}', b"2"]

    assert expected == streamed(body + b"]", [1 << 20], keep=1000)
    assert expected == split_array(body + b"]")


def test_a_stream_with_too_many_elements_is_refused(monkeypatch):
    monkeypatch.setattr(arrays_of, "MAX_ELEMENTS", 100)
    elements = b",".join([b'{"a":1}'] * 100)

    assert 100 == len(streamed(b"[" + elements + b"]", [50]))
    with pytest.raises(TooMany, match="100"):
        streamed(b"[" + elements + b",1]", [50])


def test_many_ordinary_elements_are_cut_by_the_decoder():
    events = [json.dumps({"id": f"{at}", "a": ["x" * 500, {"n": 2}]}) for at in range(20_000)]
    body = f"[{', '.join(events)}]".encode()
    stream = ArrayStream(ANY)
    parts = [p for piece in pieces_of(body, [1 << 18]) for p in stream.feed(piece)]
    parts += stream.close()

    assert events == [one.decode() for part in parts for one in part]
    assert len(parts) < 4 * len(body) >> 20
