"""What a class must have to be an adapter, and the loop that adapters share."""

import inspect
import time

import pytest

from gateway.adapter import Adapter, ParseResult
from gateway.adapters.batch import MAX_EXPLAINED, NOT_EXPLAINED, SLICE, read_batch
from schemas import Invalid, Problem, Unreadable
from tests.tiny import TinyAdapter

PARTS = sorted(
    name for name, part in vars(Adapter).items() if getattr(part, "__isabstractmethod__", False)
)


@pytest.mark.parametrize("name", PARTS)
def test_an_adapter_without_a_part_of_the_contract_cannot_be_made(name):
    members = dict(vars(TinyAdapter))
    del members[name]
    for own in ("__dict__", "__weakref__"):
        members.pop(own, None)
    incomplete = type("Incomplete", (Adapter,), members)

    assert inspect.isabstract(incomplete)
    with pytest.raises(TypeError, match=name):
        incomplete(None)


@pytest.mark.parametrize("name", ["dialect", "options", "prefixes", "kinds"])
def test_an_adapter_without_a_class_attribute_of_the_contract_cannot_be_defined(name):
    members = {key: value for key, value in vars(TinyAdapter).items() if key != name}

    with pytest.raises(TypeError, match=f"Incomplete lacks {name}"):
        type("Incomplete", (Adapter,), members)


def test_the_contract_has_parts():
    assert {"endpoints", "credentials", "secret", "admit", "accepted", "refused"} < set(PARTS)


class Numbers:
    """Reads numbers: those of one digit at once, "x" is invalid, and "{" is not JSON."""

    def decode(self, raw):
        return int(raw) if len(raw) == 1 and raw.isdigit() else None

    def explain(self, raw):
        if raw == b"{":
            raise Unreadable("Not JSON.")
        if not raw.isdigit():
            raise Invalid((Problem("", "Not a number."),))
        return int(raw), "slow " + raw.decode()


def read(raws, record=lambda number, text: (number, text), **of):
    result = ParseResult([], [], **of)
    while result.elements < len(raws):
        before = result.elements
        read_batch(Numbers(), raws, result, record)
        assert before < result.elements
    where = [(one.position, one.problems[0].message, one.raw) for one in result.rejected]
    return result.records, where


def test_a_batch_is_read_in_its_order_and_its_invalid_elements_are_told_by_position():
    before = [b"1"] * 201
    records, rejected = read([*before, b"x", b"22", b"{", b"3"])

    assert [(1, "1"), (22, "slow 22"), (3, "3")] == records[200:]
    assert [(201, "Not a number.", b"x"), (203, "Not JSON.", b"{")] == rejected


def test_an_invalid_event_alone_has_no_position():
    assert ([], [(None, "Not a number.", b"x")]) == read([b"x"], batch=False)


def test_an_event_alone_that_is_not_json_is_a_body_that_is_not_json():
    with pytest.raises(Unreadable):
        read([b"{"], batch=False)


@pytest.mark.parametrize("raw", [b"1", b"22"])
def test_an_event_that_its_record_finds_invalid_is_rejected(raw):
    def refuse(number, text):
        raise Invalid((Problem("", f"{number} is too old."),))

    assert ([], [(0, f"{int(raw)} is too old.", raw)]) == read([raw], refuse)


def test_a_large_batch_is_read_in_slices():
    result = ParseResult([], [])
    read_batch(Numbers(), [b"1"] * 1000, result, lambda number, text: (number, text))

    assert SLICE == result.elements


@pytest.mark.parametrize("raw", [b"22", b"1" * 3000])
def test_a_slice_ends_early_if_its_elements_take_long(raw):
    def record(number, text):
        time.sleep(0.002)

    result = ParseResult([], [])
    read_batch(Numbers(), [raw] * 1000, result, record)

    assert 1 <= result.elements <= 4


def test_an_event_larger_than_the_limit_of_a_batch_is_rejected_unread():
    records, rejected = read([b"1", b"1" * 3001, b"1" * 3000], max_event=3000)

    assert [1, int(b"1" * 3000)] == [number for number, _ in records]
    assert [(1, "Larger than 3000 bytes.", b"1" * 3001)] == rejected


def test_the_problems_of_some_invalid_elements_are_told_and_all_are_kept():
    raws = [b"x%d" % number for number in range(3 * MAX_EXPLAINED)]
    records, rejected = read([*raws, b"7", *raws])

    assert [(7, "7")] == records
    assert raws == [raw for _, _, raw in rejected]
    explained = ["Not a number."] * MAX_EXPLAINED
    assert explained == [why for _, why, _ in rejected][:MAX_EXPLAINED]
    assert {NOT_EXPLAINED} == {why for _, why, _ in rejected[MAX_EXPLAINED:]}
