"""The fields of a device event: the test vectors 16 to 22, by their numbers."""

import pytest

from tests.adapters.reports import MISSING, altered, assert_error, stored

# Vectors 16, 17, 20, 21, 22: the field, what it may not be, what it may.
FIELDS = [
    (
        16,
        "typeId",
        [45, "", "a b", " a", "a ", "a\u00a0b", "a\u2003", "a\tb", "\x7f", "\x00", None],
    ),
    (16, "typeId", ["x" * 25, "é" * 25, "\U0001f600" * 25, True, ["a"], MISSING, "\ud800"]),
    (17, "description", [MISSING, None, "x" * 256, 5, [], {}]),
    (19, "appId", [MISSING, None, "", "x" * 256, 5]),
    (20, "severity", [0, 6, True, 3.0, "3", None, MISSING, 2**80, -1, [3]]),
    (21, "timestamp", [True, "1440014969567", 1440014969567.0, -1, None, MISSING, 253402300800000]),
    (22, "data", [[], None, "x", MISSING, 5, "", True]),
]
TAKEN = [
    (16, "typeId", ["0045", "001", "x" * 24, "\U0001f600" * 24, "a/b", "\u200b"]),
    (17, "description", ["", "x" * 255, "é" * 255, " a\nb ", "\x00", "\x1f"]),
    (19, "appId", ["SDK Test", "SDK%20Test", "x" * 255]),
    (20, "severity", [1, 5]),
    (21, "timestamp", [0, 253402300799999]),
    (22, "data", [{}, {"": None, "a": [1, {"b": 2**80}]}, {"a": 1.5e300, "b": -0.0}]),
]


def _cases(table):
    return [
        pytest.param(name, value, id=f"{number}-{name}-{at}")
        for number, name, values in table
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize(("name", "value"), _cases(FIELDS))
def test_16_to_22_an_invalid_field_is_400_and_named(device, name, value):
    answer = device.post(altered(**{name: value}))

    assert_error(answer, 400, 6)
    assert name in answer.json["message"] or "surrogate" in answer.json["message"]
    assert (0, 1) == (len(device.records), len(device.rejected))


@pytest.mark.parametrize(("name", "value"), _cases(TAKEN))
def test_16_to_22_a_valid_field_is_stored_unchanged(device, name, value):
    event = altered(**{name: value})

    assert 201 == device.post(event).status
    assert_error(device.post(event), 409, 6)
    assert [event] == stored(device)
