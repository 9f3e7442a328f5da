"""Keys and ids."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record import EventRecord, Outcome, Receipt, clock, key_of, new_id, sender_of
from tests.records import NOW, make_record

# Lone surrogates and NUL included: a client can put them into any JSON string.
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
parts = st.lists(texts, max_size=5)


@given(parts, parts)
def test_keys_are_equal_exactly_when_the_parts_are(one, other):
    assert (one == other) == (key_of(*one) == key_of(*other))


@given(parts)
def test_a_key_has_16_bytes_and_stays_the_same(some):
    assert 16 == len(key_of(*some))
    assert key_of(*some) == key_of(*some)


@given(st.lists(texts, min_size=2, max_size=4))
def test_different_parts_have_different_keys(some):
    assert key_of(*some) != key_of("".join(some))
    assert key_of(*some) != key_of("\x00".join(some))
    assert key_of(*some) != key_of(*some, "")


def test_a_key_never_changes_between_versions():
    # A new way of hashing would make every event of before a new one.
    expected = "a8e8cb24f9f001d5c3d5c1cadc397ca2"
    assert expected == key_of("moesif", "acme", "api_call", "id", "t-1").hex()


@given(st.lists(st.integers(0, 2**47 * 1000), min_size=2, max_size=50))
def test_ids_increase_with_the_time_of_receipt_and_are_unique(times):
    made = [new_id(now) for now in sorted(times)]

    assert sorted(set(made)) == made


def test_ids_of_one_microsecond_are_increasing_and_unique():
    made = [new_id(NOW) for _ in range(10_000)]

    assert sorted(set(made)) == made


@given(st.integers(0, 2**48 * 1000 - 1))
def test_an_id_is_a_uuid_of_version_7_that_holds_the_time(now):
    made = uuid.UUID(bytes=new_id(now))

    assert 7 == made.version
    assert uuid.RFC_4122 == made.variant
    assert now // 1000 == made.int >> 80
    assert now % 1000 == made.int >> 64 & 0xFFF


def test_the_clock_counts_microseconds_since_1970():
    assert 1_700_000_000_000_000 < clock() < 4_000_000_000_000_000


def test_a_receipt_counts_outcomes():
    receipt = Receipt([Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED], 1)

    assert 2 == receipt.count(Outcome.STORED)
    assert 1 == receipt.count(Outcome.DUPLICATE)
    assert 0 == receipt.count(Outcome.QUEUED)


def test_records_are_compared_by_value():
    record = make_record("a")
    fields = {name: getattr(record, name) for name in EventRecord.__struct_fields__}

    assert record == EventRecord(**fields)
    assert record != EventRecord(**{**fields, "data": "{}"})


def test_a_sender_is_the_credential_and_the_user_agent():
    assert "4f2a9c01 python-requests/2.32" == sender_of("4f2a9c01", "python-requests/2.32")
    assert "4f2a9c01 " == sender_of("4f2a9c01", "")


def test_a_user_agent_of_any_length_keeps_its_first_200_characters():
    assert f"4f2a9c01 {'é' * 200}" == sender_of("4f2a9c01", "é" * 100_000)


@pytest.mark.parametrize("given", ["\udcff", "\x1b", "\u009b", "\x00", "\t", "\u2028", "\ufffe"])
def test_what_cannot_be_printed_in_a_user_agent_becomes_a_question_mark(given):
    assert "4f2a9c01 a?b" == sender_of("4f2a9c01", f"a{given}b")
