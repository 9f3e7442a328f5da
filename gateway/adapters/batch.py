"""Reads the events of a request, one or many, for every adapter; and HTTP's part of a refusal."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from gateway.adapter import ParseResult, Rejected
from gateway.errors import Reason, Refusal
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


SLICE = 200
"""Events that are read before others get their turn: a millisecond or two where all is usual."""

MAX_EXPLAINED = 1_000
"""Invalid elements of one request whose problems are looked for."""

NOT_EXPLAINED = f"Not explained: {MAX_EXPLAINED} elements before it are invalid."

_SECONDS = 0.005
_LARGE = 2048


def read_batch(
    events: Reads[EventT],
    raws: Sequence[bytes],
    result: ParseResult,
    record: Callable[[EventT, str], EventRecord],
) -> None:
    """Read the next of some texts in UTF-8 into *result*, as `Ingest.read` does.

    *record* makes a record of an event and its text, and may raise `schemas.Invalid`.

    Raises:
        Unreadable: the request is no batch and the text is not JSON.
    """
    decode, keep = events.decode, result.records.append
    first = result.elements
    until = time.perf_counter() + _SECONDS if len(raws) > 1 else math.inf
    begin = result.offset + first
    for position, raw in enumerate(raws[first : first + SLICE], start=begin):
        try:
            slow = len(raw) > _LARGE
            event = None if slow and len(raw) > result.max_event else decode(raw)
            if event is not None:
                keep(record(event, raw.decode()))
            else:
                slow = True
                if not _known_to_be_invalid(position, raw, result):
                    keep(record(*events.explain(raw)))
        except (Invalid, Unreadable) as error:
            _reject(position, raw, result, error)
        if slow and time.perf_counter() > until:
            return


def _known_to_be_invalid(position: int, raw: bytes, result: ParseResult) -> bool:
    """Reject an element whose problems are not looked for, and return whether that was so."""
    if len(raw) > result.max_event:
        problem = Problem("", f"Larger than {result.max_event} bytes.")
    elif raw in result.texts:
        result.repeated += 1
        return True
    elif result.explained < MAX_EXPLAINED:
        return False
    else:
        problem = Problem("", NOT_EXPLAINED)
    result.reject(Rejected(position if result.batch else None, [problem], raw))
    return True


def _reject(position: int, raw: bytes, result: ParseResult, error: Invalid | Unreadable) -> None:
    if isinstance(error, Invalid):
        problems: Sequence[Problem] = error.problems
    elif result.batch:
        problems = [Problem("", str(error))]
    else:
        raise error
    result.explained += 1
    result.reject(Rejected(position if result.batch else None, problems, raw))


STATUS: Mapping[Reason, int] = {
    Reason.NO_SUCH_ADDRESS: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.CREDENTIAL_MISSING: 401,
    Reason.CREDENTIAL_UNKNOWN: 401,
    Reason.TENANT_UNKNOWN: 404,
    Reason.TENANT_FORBIDDEN: 403,
    Reason.DEVICE_UNKNOWN: 404,
    Reason.DEVICE_FORBIDDEN: 403,
    Reason.LIMITED: 503,
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
    """The headers that HTTP requires with a refusal: Allow (405), Retry-After (429, 503)."""
    headers: dict[str, str] = {}
    if refusal.allowed:
        headers["Allow"] = ", ".join(refusal.allowed)
    if status in (429, 503):
        headers["Retry-After"] = str(refusal.retry_after)
    return headers
