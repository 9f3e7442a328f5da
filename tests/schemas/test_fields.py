"""The fields of client documents: what each accepts and refuses."""

import math

import pytest
from marshmallow import ValidationError

from schemas.fields import (
    INT32,
    INT64,
    Boolean,
    Name,
    Object,
    Properties,
    Real,
    RequiredText,
    Text,
    Whole,
)
from schemas.timestamps import LenientTimestamp, Timestamp

NOON = "2015-05-18T14:00:00Z"
UNSTORABLE = ["\x00", "a\x00b", "\ud800", "x\udfff"]


def test_optional_text_accepts_null_as_not_set_and_a_number_as_its_digits():
    expected = {None: None, "": "", "a": "a", 5: "5", 2.5: "2.5", 2**80: str(2**80)}

    assert expected == {given: Text().deserialize(given) for given in expected}


@pytest.mark.parametrize("given", [True, False, [], {}, ["a"]])
@pytest.mark.parametrize("field", [Text(), Name(), RequiredText()])
def test_text_must_not_be_a_boolean_array_or_object(field, given):
    with pytest.raises(ValidationError):
        field.deserialize(given)


@pytest.mark.parametrize("given", UNSTORABLE)
def test_other_text_may_contain_anything(given):
    assert given == Text().deserialize(given)


@pytest.mark.parametrize("given", UNSTORABLE)
@pytest.mark.parametrize("field", [Name(), RequiredText()])
def test_text_for_a_type_or_subject_must_be_storable(field, given):
    with pytest.raises(ValidationError, match="NUL or a lone surrogate"):
        field.deserialize(given)


@pytest.mark.parametrize("given", ["é中", "\U0001f600", "\n", "\x01", " "])
@pytest.mark.parametrize("field", [Name(), RequiredText()])
def test_other_characters_are_allowed_in_a_type_or_subject(field, given):
    assert given == field.deserialize(given)


@pytest.mark.parametrize("field", [RequiredText(), Timestamp(required=True)])
@pytest.mark.parametrize("given", [None, ""])
def test_null_and_empty_text_count_as_missing_if_required(field, given):
    with pytest.raises(ValidationError, match="required"):
        field.deserialize(given)


@pytest.mark.parametrize("given", [None, ""])
@pytest.mark.parametrize("field", [Timestamp(), LenientTimestamp(), Object()])
def test_null_and_empty_text_mean_not_set_if_optional(field, given):
    assert field.deserialize(given) is None


def test_a_time_is_loaded_as_microseconds():
    fields = [Timestamp(), Timestamp(zone_required=True), LenientTimestamp()]

    assert [1_431_957_600_000_000] * 3 == [field.deserialize(NOON) for field in fields]


@pytest.mark.parametrize("given", [1431957600000, True, 1.5, [], {}, "noon", "2015-05"])
def test_a_time_is_text_of_the_documented_form(given):
    with pytest.raises(ValidationError):
        Timestamp().deserialize(given)


def test_a_time_without_zone_is_invalid_if_one_is_required():
    with pytest.raises(ValidationError, match="zone"):
        Timestamp(zone_required=True).deserialize(NOON.removesuffix("Z"))


@pytest.mark.parametrize("given", [1431957600000, True, [], {}, "noon"])
def test_an_invalid_lenient_time_counts_as_not_set(given):
    assert LenientTimestamp().deserialize(given) is None


def test_a_valid_lenient_time_is_used():
    assert Timestamp().deserialize(NOON) == LenientTimestamp().deserialize(NOON)


@pytest.mark.parametrize("given", [[], "x", 1, True])
@pytest.mark.parametrize("required", [True, False])
def test_a_value_that_is_not_an_object_is_invalid(given, required):
    with pytest.raises(ValidationError, match="Not an object"):
        Object(required=required).deserialize(given)


@pytest.mark.parametrize("given", [None, ""])
def test_a_required_object_is_not_null_or_empty_text(given):
    with pytest.raises(ValidationError):
        Object(required=True).deserialize(given)


@pytest.mark.parametrize("given", [{}, {"a": {"b": [1, None]}}])
def test_an_object_may_contain_anything(given):
    assert given == Object(required=True).deserialize(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(4, 4), (4.0, 4), (-0.0, 0), (1e3, 1000), (-(2**31), -(2**31)), (2**31 - 1, 2**31 - 1)],
)
def test_an_integer_may_have_a_decimal_point(given, expected):
    value = Whole(INT32).deserialize(given)

    assert (expected, int) == (value, type(value))


@pytest.mark.parametrize(
    "given", [1.9, True, "4", None, 2**31, -(2**31) - 1, 1e10, math.nan, math.inf, [], {}]
)
def test_an_integer_beyond_int32_is_refused(given):
    with pytest.raises(ValidationError):
        Whole(INT32).deserialize(given)


@pytest.mark.parametrize("given", [2**63 - 1, -(2**63)])
def test_a_long_reaches_to_both_ends_of_int64(given):
    assert given == Whole(INT64).deserialize(given)


@pytest.mark.parametrize("given", [2**63, -(2**63) - 1, 9.3e18])
def test_a_long_beyond_int64_is_invalid(given):
    with pytest.raises(ValidationError):
        Whole(INT64).deserialize(given)


@pytest.mark.parametrize("given", [0, -1.5, 2**80, math.inf, "NaN", "Infinity", "-Infinity", 9.7e8])
def test_a_real_number_may_be_an_integer_infinite_or_quoted(given):
    assert given == Real().deserialize(given)


@pytest.mark.parametrize("given", [True, "1.5", "nan", "+Infinity", "", None, [], {}])
def test_other_text_is_not_a_number(given):
    with pytest.raises(ValidationError):
        Real().deserialize(given)


@pytest.mark.parametrize("given", [0, 1, "true", "", None, [], {}])
def test_a_flag_is_true_or_false_and_nothing_else(given):
    with pytest.raises(ValidationError):
        Boolean().deserialize(given)


@pytest.mark.parametrize(
    "given", [{}, {"a": 1}, {"a": [1, 2]}, {"a": []}, {"": 1, "weird key é": [2]}]
)
def test_a_property_has_one_value_or_an_array_of_them(given):
    assert given == Properties(Whole(INT32)).deserialize(given)


@pytest.mark.parametrize(
    "given", [{"a": "x"}, {"a": [1, "x"]}, {"a": None}, {"a": [[1]]}, {"a": {}}, [], "x", 1]
)
def test_a_section_with_a_value_of_another_type_is_refused(given):
    with pytest.raises(ValidationError):
        Properties(Whole(INT32)).deserialize(given)
