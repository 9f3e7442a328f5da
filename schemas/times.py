"""Parsing times, in the same way for all dialects.

The form of RFC 3339: ``YYYY-MM-DDTHH:MM:SS``, a fraction (rounded to microseconds), and ``Z``
or an offset. ISO 8601 as clients write it is accepted too: a day alone, no separators
(``20260504T044500Z``), no seconds, ``+0200`` or ``+02``, a comma before the fraction, ``t``,
``z``, a space instead of ``T``, and ``:60``, which becomes ``:59.999999``. The dialect decides
whether a missing zone means UTC or is an error.
"""

import re
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import lru_cache

import msgspec

_TIME = re.compile(
    r"(\d{4})(-?)(\d\d)\2(\d\d)"
    r"(?:[Tt ](\d\d)(:?)(\d\d)(?:\6(\d\d)(?:[.,](\d*))?)?([Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_LONGEST = 40
"""Longer texts, whose fraction has no end, are not remembered."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = (1 - _EPOCH_DAY) * _DAY
"""0001-01-01T00:00:00Z in microseconds since 1970, UTC."""

LATEST = (date.max.toordinal() - _EPOCH_DAY + 1) * _DAY - 1
"""9999-12-31T23:59:59.999999Z in microseconds since 1970, UTC."""


@lru_cache(maxsize=512)
def _midnight(day: str) -> int:
    return (date.fromisoformat(day).toordinal() - _EPOCH_DAY) * _DAY


def is_plain(moment: datetime) -> bool:
    """Whether *moment* is in the years 1 to 9999 of UTC too, whatever its zone."""
    return 1 < moment.year < 9999


def since_epoch(moment: datetime) -> int:
    """The microseconds since 1970-01-01T00:00:00Z; without a zone, *moment* is in UTC."""
    since = moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def microseconds(text: str, *, zone_required: bool = False) -> int:
    """Parse a time as integer microseconds since 1970-01-01T00:00:00Z.

    Raises:
        ValueError: with a sentence for the client: the text has another form, the day
            or the hour does not exist, or the time is outside the years 1 to 9999.
    """
    # As the decoders read times, so that both give the same. Only what msgspec does not take,
    # or what needs an explanation, is left to the pattern.
    with suppress(msgspec.ValidationError):
        moment = msgspec.convert(text, datetime)
        if is_plain(moment) and (moment.tzinfo is not None or not zone_required):
            return since_epoch(moment)
    return _by_pattern(text, zone_required)


def rare_microseconds(text: str, zone_required: bool) -> int:
    """As `microseconds`, faster for rare forms and for a text that was read before."""
    if len(text) > _LONGEST:
        return microseconds(text, zone_required=zone_required)
    return _remembered(text, zone_required)


@lru_cache(maxsize=1024)
def _remembered(text: str, zone_required: bool) -> int:
    return _by_pattern(text, zone_required)


def _by_pattern(text: str, zone_required: bool) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("Not a time of the form YYYY-MM-DDTHH:MM:SS[.fraction][Z|+hh:mm].")
    year, _, month, day, hour, _, minute, second, fraction, zone = match.groups("")
    h, m, s = int(hour or 0), int(minute or 0), int(second or 0)
    if h > 23 or m > 59 or s > 60:
        raise ValueError("Not a time of day.")
    try:
        micros = _midnight(f"{year}-{month}-{day}") + ((h * 60 + m) * 60 + s) * 1_000_000
    except ValueError:
        raise ValueError("Not a day of the calendar.") from None
    if s == 60:
        # A leap second. The clocks that count from 1970 have none.
        micros -= 1
    elif fraction:
        # Some clients write the end of time with seven digits.
        micros = min(micros + (int(fraction[:7].ljust(7, "0")) + 5) // 10, LATEST)
    if not zone:
        if zone_required:
            raise ValueError("The time has no zone; end it with Z or an offset.")
    elif zone not in "Zz":
        micros -= _offset(zone)
    if not EARLIEST <= micros <= LATEST:
        raise ValueError("The time is outside the years 1 to 9999.")
    return micros


def _offset(zone: str) -> int:
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("Not an offset from UTC.")
    total = (hours * 60 + minutes) * 60_000_000
    return -total if zone[0] == "-" else total


def rfc3339(micros: int) -> str:
    """Write microseconds since 1970 as RFC 3339 in UTC, ``Z`` at the end.

    The fraction has six digits, or is absent if it is zero.
    """
    days, rest = divmod(micros, _DAY)
    seconds, fraction = divmod(rest, 1_000_000)
    minutes, s = divmod(seconds, 60)
    h, m = divmod(minutes, 60)
    day = date.fromordinal(days + _EPOCH_DAY)
    # isoformat pads the year to four digits, strftime does not.
    text = f"{day.isoformat()}T{h:02}:{m:02}:{s:02}"
    return f"{text}.{fraction:06}Z" if fraction else f"{text}Z"
