"""Times as an operator types them."""

import re
from datetime import datetime

import click

from gateway.record import clock
from schemas import times

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d)?")

ACCEPTED = (
    "90s, 15m, 2h, 3d or 1w ago; 14:30 today, or '2026-05-04 14:30', in the local time zone; "
    "2026-05-04T14:30:00Z, or with an offset; 2026-05-04, its midnight in UTC"
)


class Timestamp(click.ParamType[int]):
    """A time as text, read as microseconds since 1970 UTC."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value).strip()
        try:
            return moment(text)
        except ValueError as error:
            self.fail(f"{text}: {error} Accepted: {ACCEPTED}.", param, ctx)


def moment(text: str) -> int:
    """The time that *text* means, in microseconds since 1970 UTC.

    Raises:
        ValueError: with a sentence that says what is wrong.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return clock() - int(ago[1]) * _UNITS[ago[2]] * 1_000_000
    if _OF_DAY.fullmatch(text):
        text = (
            f"{datetime.now():%Y-%m-%d} {text.zfill(len('00:00') if text.count(':') == 1 else 8)}"
        )
    if " " in text:
        return times.since_epoch(datetime.fromisoformat(text).astimezone())
    return times.microseconds(text if "T" in text else f"{text}T00:00:00Z")
