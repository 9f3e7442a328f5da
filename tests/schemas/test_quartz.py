"""Cron expressions are refused where Quartz refuses them: the examples are of its documentation."""

import pytest

from schemas.quartz import find_faults

GOOD = """
0 0 12 * * ?
0 15 10 ? * *
0 15 10 * * ? 2005
0 0/5 14,18 * * ?
0 0-5 14 * * ?
0 10,44 14 ? 3 WED
0 15 10 ? * mon-fri
0 15 10 L * ?
0 15 10 L-2 * ?
0 15 10 ? * 6L
0 15 10 ? * FRIL
0 15 10 ? * 6L 2002-2005
0 15 10 ? * 6#3
0 15 10 ? * FRI#3
0 0 12 1/5 * ?
0 11 11 11 11 ?
0 0 12 15W * ?
0 0 12 LW * ?
0 0 22-2 ? NOV-FEB SAT
0/5 * * * * ?
*/59 /7 */23 */31 */12 ? *
0 10-20/5 * ? JAN,MAR 1-7 1970-2199/2
""".strip().splitlines()

# An expression, and the one thing that is wrong with it.
BAD = {
    "0/5 * * * * *": "One of the day of month and the day of week must be '?', and only one.",
    "0 0 12 ? * ?": "One of the day of month and the day of week must be '?', and only one.",
    "60 * * * * ?": "'60' cannot be the seconds.",
    "? * * * * ?": "'?' cannot be the seconds.",
    "0/70 * * * * ?": "'0/70' cannot be the seconds.",
    "0/0 * * * * ?": "'0/0' cannot be the seconds.",
    "0 1,,2 * * * ?": "'' cannot be the minutes.",
    "0 0 24 * * ?": "'24' cannot be the hours.",
    "0 0 6#2 * * ?": "'6#2' cannot be the hours.",
    "0 0 0 0 * ?": "'0' cannot be the day of month.",
    "0 0 0 32W * ?": "'32W' cannot be the day of month.",
    "0 0 0 L-31 * ?": "'L-31' cannot be the day of month.",
    "0 0 0 1,15W * ?": "'15W' must be the day of month alone, and not one of a list.",
    "0 0 0 L,1 * ?": "'L' must be the day of month alone, and not one of a list.",
    "0 0 0 1 FOO ?": "'FOO' cannot be the month.",
    "0 0 0 1 13 ?": "'13' cannot be the month.",
    "0 0 0 1 MON ?": "'MON' cannot be the month.",
    "0 0 0 ? * 8": "'8' cannot be the day of week.",
    "0 0 0 ? * 0": "'0' cannot be the day of week.",
    "0 0 0 ? * 6#6": "'6#6' cannot be the day of week.",
    "0 0 0 ? * 6#1,2": "'6#1' must be the day of week alone, and not one of a list.",
    "0 0 0 ? * MON-X": "'MON-X' cannot be the day of week.",
    "0 0 0 1 1 ? 1969": "'1969' cannot be the year.",
    "0 0 0 1 1 ? 2030-2020": "'2030-2020' cannot be the year.",
    "0 0 12 * *": "Not a Quartz expression of 6 or 7 fields.",
    "* * * * * ? * *": "Not a Quartz expression of 6 or 7 fields.",
    "0 0 0 ? * 2\n": "'2\n' cannot be the day of week.",
    "0 0 0 ? * \u00a02": "'\u00a02' cannot be the day of week.",
    f"{'9' * 5000} * * * * ?": f"'{'9' * 5000}' cannot be the seconds.",
    "": "Not a Quartz expression of 6 or 7 fields.",
}


@pytest.mark.parametrize("expression", GOOD)
def test_what_quartz_takes_is_taken(expression):
    assert [] == list(find_faults(expression))


@pytest.mark.parametrize(("expression", "fault"), BAD.items())
def test_what_quartz_refuses_is_refused_and_the_part_is_named(expression, fault):
    assert [fault] == list(find_faults(expression))


def test_every_field_that_is_wrong_is_named():
    assert 7 == len(list(find_faults("a b c d e f")))
