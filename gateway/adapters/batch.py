"""Reads the events of a request, one or many, for every adapter; and HTTP's part of a refusal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from gateway.adapter import ParseResult, Rejected
from gateway.errors import RETRY_AFTER, Reason, Refusal
from gateway.record import EventRecord
from schemas import Invalid, Problem, Unreadable

EventT = TypeVar("EventT")
ReadT_co = TypeVar("ReadT_co", covariant=True)


class Reads(Protocol[ReadT_co]):
    """Checks the text of one event, as `schemas.decoders.Decoder` does."""

    def decode(self, raw: bytes, /) -> ReadT_co | None:
        """The event if it is plainly valid; None leaves the text to `explain`."""

    def explain(self, raw: bytes, /) -> tuple[ReadT_co, str]:
        """The event and its text to keep; raises `schemas.Invalid` or `schemas.Unreadable`."""


def read_batch(
    events: Reads[EventT],
    raws: Sequence[bytes],
    start: int | None,
    record: Callable[[EventT, str], EventRecord],
) -> ParseResult:
    """Read texts in UTF-8 into records; the first one stood at *start*, as for `Ingest.read`.

    *record* makes a record of an event and its text, and may raise `schemas.Invalid`.

    Raises:
        Unreadable: *start* is None and the text is not JSON.
    """
    result = ParseResult([], [])
    decode, keep = events.decode, result.records.append
    for position, raw in enumerate(raws, start=start or 0):
        try:
            event = decode(raw)
            if event is not None:
                keep(record(event, raw.decode()))
            else:
                event, text = events.explain(raw)
                keep(record(event, text))
        except Invalid as error:
            where = None if start is None else position
            result.reject(Rejected(where, error.problems, raw))
        except Unreadable as error:
            if start is None:
                raise
            result.reject(Rejected(position, [Problem("", str(error))], raw))
    return result


STATUS: Mapping[Reason, int] = {
    Reason.NO_SUCH_ADDRESS: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.CREDENTIAL_MISSING: 401,
    Reason.CREDENTIAL_UNKNOWN: 401,
    Reason.TENANT_UNKNOWN: 404,
    Reason.TENANT_FORBIDDEN: 403,
    Reason.DEVICE_UNKNOWN: 404,
    Reason.DEVICE_FORBIDDEN: 403,
    Reason.BODY_TOO_LARGE: 413,
    Reason.BODY_TOO_SLOW: 408,
    Reason.MEDIA_TYPE_UNSUPPORTED: 415,
    Reason.ENCODING_UNSUPPORTED: 415,
    Reason.ENCODING_CORRUPT: 400,
    Reason.EXPECTATION_UNSUPPORTED: 417,
    Reason.NOT_JSON: 400,
    Reason.INVALID: 400,
    Reason.OVERLOADED: 503,
    Reason.UNAVAILABLE: 503,
    Reason.INTERNAL: 500,
}
"""The HTTP status of each reason where a dialect does not say otherwise."""


def headers_of(refusal: Refusal, status: int) -> dict[str, str]:
    """The headers that HTTP requires with a refusal: Allow (405), Retry-After (503)."""
    headers: dict[str, str] = {}
    if refusal.allowed:
        headers["Allow"] = ", ".join(refusal.allowed)
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
    return headers
