"""Cron expressions of Quartz, by which Logspace agents schedule their work.

Source: the documentation of ``org.quartz.CronExpression``. Six fields are separated by
blanks: seconds, minutes, hours, day of month, month, day of week; a year may follow.
A day is given either in the month or in the week; the other one is ``?``.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


class _Field(msgspec.Struct, frozen=True):
    """One field: its numbers, names for them, and the forms that only this field has."""

    name: str
    least: int
    most: int
    names: Mapping[str, int] = {}
    special: re.Pattern[str] = re.compile(r"(?!)")
    # Of these, what cannot stand in a list.
    alone: re.Pattern[str] = re.compile(r"(?!)")


_DAY_OF_MONTH = _Field(
    "the day of month",
    1,
    31,
    special=re.compile(r"L(-([0-9]|[12][0-9]|30))?W?|(0?[1-9]|[12][0-9]|3[01])W"),
    alone=re.compile(r".*[LW].*"),
)
_DAY_OF_WEEK = _Field(
    "the day of week",
    1,
    7,
    names={name: number for number, name in enumerate(_DAYS, 1)},
    special=re.compile(rf"L|([1-7]|{'|'.join(_DAYS)})(L|#[1-5])"),
    alone=re.compile(r".*[L#].*"),
)
_FIELDS = (
    _Field("the seconds", 0, 59),
    _Field("the minutes", 0, 59),
    _Field("the hours", 0, 23),
    _DAY_OF_MONTH,
    _Field("the month", 1, 12, names={name: number for number, name in enumerate(_MONTHS, 1)}),
    _DAY_OF_WEEK,
    _Field("the year", 1970, 2199),
)

_STEPS = re.compile(r"(\*|([0-9]{1,9})(?:-([0-9]{1,9}))?)?(?:/([0-9]{1,9}))?")
_NAMES = re.compile(r"([A-Z]{3})(?:-([A-Z]{3}))?")


def find_faults(expression: str) -> Iterator[str]:
    """What Quartz would refuse in *expression*, or would silently read as something else."""
    # Quartz knows no other blanks: a line break would be a part of a field.
    given = re.findall(r"[^ \t]+", expression.upper())
    if len(given) not in (6, 7):
        yield "Not a Quartz expression of 6 or 7 fields."
        return
    for field, text in zip(_FIELDS, given, strict=False):
        if field in (_DAY_OF_MONTH, _DAY_OF_WEEK) and text == "?":
            continue
        for part in text.split(","):
            if not _is_good(field, part):
                yield f"'{part}' cannot be {field.name}."
            elif text != part and field.alone.fullmatch(part):
                yield f"'{part}' must be {field.name} alone, and not one of a list."
    if [given[3], given[5]].count("?") != 1:
        yield "One of the day of month and the day of week must be '?', and only one."


def _is_good(field: _Field, part: str) -> bool:
    if field.special.fullmatch(part):
        return True
    named = _NAMES.fullmatch(part)
    if named:
        return all(name in field.names for name in named.groups() if name)
    steps = _STEPS.fullmatch(part)
    if not part or steps is None:
        return False
    _, first, last, step = steps.groups()
    numbers = [int(one) for one in (first, last) if one]
    if any(not field.least <= number <= field.most for number in numbers):
        return False
    # Only years do not begin again after the last: 22-2 is a good range of hours.
    if field.most > 2000 and numbers != sorted(numbers):
        return False
    return step is None or 1 <= int(step) <= field.most
