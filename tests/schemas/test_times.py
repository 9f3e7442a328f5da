"""Times in text, as every dialect reads and the export writes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import EARLIEST, LATEST, microseconds, rare_microseconds, rfc3339

NOON = 1_431_957_600_000_000
"""2015-05-18T14:00:00Z."""

ZONES = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2015-05-18T14:00:00Z", NOON),
        ("2015-05-18T14:00:00", NOON),
        ("2015-05-18T14:00:00.", NOON),
        ("2015-05-18T14:00:00.5Z", NOON + 500_000),
        ("2015-05-18T14:00:00.82", NOON + 820_000),
        ("2015-05-18T14:00:00.001Z", NOON + 1_000),
        ("2015-05-18T14:00:00.381621+00:00", NOON + 381_621),
        ("2015-05-18T14:00:00.1234564999Z", NOON + 123_456),
        ("2015-05-18T14:00:00.1234565Z", NOON + 123_457),
        ("2015-05-18T14:00:00.999999999Z", NOON + 1_000_000),
        ("2015-05-18T14:00:00.99999949", NOON + 999_999),
        ("2015-05-18T14:00Z", NOON),
        ("2015-05-18T16:00+02", NOON),
        ("2015-05-18T14:00:00,5Z", NOON + 500_000),
        ("20150518T140000Z", NOON),
        ("20150518T140000.5+0000", NOON + 500_000),
        ("20150518T1600+02:00", NOON),
        ("2015-05-18T140000", NOON),
        ("2015-05-18", NOON - 14 * 3_600_000_000),
        ("20150518", NOON - 14 * 3_600_000_000),
        ("2015-05-18T13:59:60Z", NOON - 1),
        ("2015-05-18T13:59:60.7Z", NOON - 1),
        ("2016-12-31T23:59:60Z", 1_483_228_799_999_999),
        ("2015-05-18 14:00:00Z", NOON),
        ("2015-05-18t14:00:00z", NOON),
        ("2015-05-18 14:00:00.z", NOON),
        ("2015-05-18T16:00:00+02:00", NOON),
        ("2015-05-18T16:00:00+0200", NOON),
        ("2015-05-18T08:30:00-05:30", NOON),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", EARLIEST),
        ("0001-01-01T00:00:00.0000005Z", EARLIEST + 1),
        ("9999-12-31T23:59:59.9999994Z", LATEST),
        ("9999-12-31T23:59:59.9999999Z", LATEST),
    ],
)
def test_a_time_is_read_to_the_microsecond(text, expected):
    assert expected == microseconds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2015-05-18_14:00:00Z",
        "2015-0518",
        "201505-18",
        "2015-05-18Z",
        "2015-05-18T",
        "2015-05-18T14",
        "2015-05-18T14Z",
        "2015-05-18T14:0000Z",
        "2015-05-18T1400:00Z",
        "2015-05-18T14:00.5Z",
        "2015-05-18T14:00:61Z",
        "2015-05-18  14:00:00Z",
        "2015-05-18T14:00:00.5 Z",
        "2015-05-18T14:00:00Z ",
        "2015-05-18T14:00:00Z\n",
        " 2015-05-18T14:00:00Z",
        "2015-05-18T14:00:00+2:00",
        "2015-05-18T14:00:00+24:00",
        "2015-05-18T14:00:00+02:60",
        "2015-05-18T24:00:00Z",
        "2015-05-18T14:60:00Z",
        "2015-02-29T14:00:00Z",
        "2015-13-40T25:61:61.123Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "-2015-05-18T14:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "٢٠١٥-05-18T14:00:00Z",
        "1431957600000",
    ],
)
def test_text_of_another_form_is_not_a_time(text):
    with pytest.raises(ValueError, match=r"."):
        microseconds(text)


def test_a_missing_zone_is_an_error_if_one_is_required():
    with pytest.raises(ValueError, match="zone"):
        microseconds("2015-05-18T14:00:00", zone_required=True)


def test_a_zone_is_accepted_if_one_is_required():
    assert NOON == microseconds("2015-05-18T16:00:00+02:00", zone_required=True)


@pytest.mark.parametrize(
    ("micros", "expected"),
    [
        (NOON, "2015-05-18T14:00:00Z"),
        (NOON + 1_000, "2015-05-18T14:00:00.001000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (EARLIEST, "0001-01-01T00:00:00Z"),
        (LATEST, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_written_in_utc_with_z(micros, expected):
    assert expected == rfc3339(micros)


@given(st.integers(EARLIEST, LATEST))
def test_a_dumped_configuration_is_loaded_unchanged(micros):
    assert micros == microseconds(rfc3339(micros), zone_required=True)


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES))
def test_reading_agrees_with_the_standard_library(moment):
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    assert expected == microseconds(moment.isoformat())


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"))
def test_any_text_is_a_time_in_range_or_a_value_error(text):
    try:
        micros = microseconds(text)
    except ValueError:
        return
    assert EARLIEST <= micros <= LATEST


@given(
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
        r"(\.[0-9]{0,20})?([Zz]|[+-][0-2][0-9]:?[0-5][0-9])?",
        fullmatch=True,
    ),
    st.booleans(),
)
def test_both_ways_to_read_a_time_give_the_same(text, zone_required):
    def read(parse):
        try:
            return parse(text, zone_required=zone_required)
        except ValueError as error:
            return str(error)

    assert read(microseconds) == read(rare_microseconds)
