"""What is found out about a request, as its log line and the headers of its answer tell it."""

import itertools
import os
import time
from collections.abc import Sequence
from typing import Any

from aiohttp.web import BaseRequest

from gateway.adapter import AnyAdapter, Head, Tenant
from gateway.errors import Refusal
from gateway.record import Outcome, Receipt
from gateway.web.budget import Share

# Eight bytes, with room to count.
_start = int.from_bytes(os.urandom(6), "big") << 15
_next_request_number = itertools.count(_start).__next__

_MAX_SHOWN = 200

_OUTCOME_NAMES = {outcome: outcome.value for outcome in Outcome}

_COUNT_HEADERS = {Outcome.DUPLICATE: "Gateway-Duplicate", Outcome.QUEUED: "Gateway-Queued"}
"""Headers that count, in an answer, the events that did not newly reach the store."""


class RequestContext:
    """What is found out about one request while it is answered, for its log line."""

    __slots__ = (
        "adapter",
        "credential",
        "head",
        "id",
        "receipt",
        "refusal",
        "share",
        "size",
        "started",
        "tally",
        "tenant",
    )

    def __init__(self, head: Head) -> None:
        self.id = _next_request_number().to_bytes(8, "big").hex()
        self.started = time.perf_counter()
        self.head = head
        self.adapter: AnyAdapter | None = None
        self.tenant: Tenant | None = None
        self.credential = ""
        self.size = 0
        self.receipt: Receipt | None = None
        self.tally: Sequence[tuple[Outcome, int]] = ()
        self.refusal: Refusal | None = None
        self.share: Share | None = None


def shown(text: str) -> str:
    """What the log shows of a client's text: printable, and not too much of it."""
    if len(text) > _MAX_SHOWN:
        text = text[:_MAX_SHOWN]
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def line_of(
    request: BaseRequest, context: RequestContext, status: int, seconds: float
) -> dict[str, Any]:  # Any: values of a log line
    """What the log says of a request that took so many *seconds*, besides why it was refused."""
    line: dict[str, Any] = {
        "request_id": context.id,
        "method": request.method[:20],
        "path": shown(context.head.path),
        "status": status,
        "client": request.remote,
        "bytes": context.size,
        # Rounded to an integer first: to round to digits goes by way of text.
        "ms": round(seconds * 100_000) / 100,
    }
    if context.adapter is not None:
        line["dialect"] = context.adapter.dialect
    if context.tenant is not None:
        line["tenant"] = context.tenant.name
    if context.receipt is not None:
        for outcome, count in context.tally:
            line[_OUTCOME_NAMES[outcome]] = count
        if context.receipt.rejected:
            line["rejected"] = context.receipt.rejected
    return line


def headers_of(context: RequestContext) -> dict[str, str]:
    """The headers that tell of the request: its id, and counts of what became of its events."""
    headers = {"X-Request-Id": context.id}
    receipt = context.receipt
    if receipt is not None:
        if receipt.rejected:
            headers["Gateway-Rejected"] = str(receipt.rejected)
        for outcome, count in context.tally:
            if outcome in _COUNT_HEADERS:
                headers[_COUNT_HEADERS[outcome]] = str(count)
    return headers
