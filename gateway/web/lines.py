"""The log line of each request: who sent what, what became of it, and what was wrong."""

import logging
import time
from typing import Any

from aiohttp.web import BaseRequest

from gateway.adapter import Reply
from gateway.errors import Reason, Refusal
from gateway.intake.intake import Intake
from gateway.ops.log import RequestLog
from gateway.ops.metrics import Metrics
from gateway.record import Receipt
from gateway.web.context import RequestContext, line_of, shown
from schemas import Problem

Line = dict[str, Any]  # Any: values of a log line


class RequestLines:
    """Writes one line for each request."""

    def __init__(self, intake: Intake, metrics: Metrics) -> None:
        """*intake* knows what the log must not show; *metrics* are told of each request too."""
        self._intake = intake
        self._metrics = metrics
        self._log = RequestLog()

    def write(self, request: BaseRequest, context: RequestContext, reply: Reply) -> None:
        """Log that *request* was answered with *reply*."""
        seconds = time.perf_counter() - context.started
        adapter = context.adapter
        self._metrics.answered(adapter.dialect if adapter else "", seconds, context.size)
        line = line_of(request, context, reply.status, seconds)
        receipt, refusal = context.receipt, context.refusal
        if receipt is not None and (receipt.problems or receipt.first_duplicate is not None):
            self._add_details(line, context, receipt)
        if refusal is None:
            self._log.write(logging.INFO, "request_answered", line)
            return
        line["agent"] = shown(request.headers.get("User-Agent", ""))
        self._add_refusal(line, refusal)
        level = logging.WARNING if reply.status >= 500 else logging.INFO
        if refusal.reason is Reason.BODY_TOO_LARGE:
            # A known client loses events, or repeats this for ever.
            level = logging.WARNING if context.tenant is not None else logging.INFO
            line["announced"] = request.content_length
            if refusal.limit:
                line["limit"] = refusal.limit
            else:
                line["problem"] = shown(refusal.message)
        self._log.write(level, "request_refused", line)

    def _add_refusal(self, line: Line, refusal: Refusal) -> None:
        line["reason"] = refusal.reason.value
        line["retryable"] = refusal.reason.retryable
        if refusal.digest:
            line["credential_sha256"] = refusal.digest
        if refusal.problems:
            line["problem"] = self._problem(line, refusal.problems[0])

    def _add_details(self, line: Line, context: RequestContext, receipt: Receipt) -> None:
        """Name the first thing that is wrong, and the first event that was there before."""
        if receipt.problems:
            line["problem"] = self._problem(line, receipt.problems[0])
        duplicate = receipt.first_duplicate
        if duplicate is not None and context.adapter is not None:
            line["duplicate_id"] = shown(context.adapter.client_id(duplicate))

    def _problem(self, line: Line, problem: Problem) -> str:
        dialect, tenant = line.get("dialect", ""), line.get("tenant", "")
        first = self._intake.without_secrets(dialect, tenant, problem)
        return shown(f"{first.path}: {first.message}")
