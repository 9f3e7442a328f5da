"""An adapter by itself: requests in, replies and records out, without sockets, files or a loop.

Routes and keyring are the gateway's own. What depends on the listener, the
quarantine or the store is tested with a running gateway.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from multidict import CIMultiDict

from gateway.adapter import AnyAdapter, Head, Inbound, Ingest, ParseResult, Rejected, Reply
from gateway.adapters import ADAPTERS
from gateway.auth import Keyring
from gateway.checks import dialects
from gateway.config import resolve
from gateway.errors import Reason, Refusal
from gateway.export import cloudevent
from gateway.record import EventRecord, Outcome, Receipt, sender_of
from gateway.web.routes import Routes, normal
from schemas import Problem, Unreadable
from tests.conftest import APPLICATION_ID, CONFIG, Answer, merged
from tests.records import NOW

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class DirectAnswer(Answer):
    """A reply, and what became of the request's events."""

    def __init__(self, reply: Reply, outcomes: list[Outcome], rejected: int) -> None:
        headers = CIMultiDict({"Content-Type": reply.content_type, **reply.headers})
        super().__init__(reply.status, reply.body, headers)
        self.duplicates = outcomes.count(Outcome.DUPLICATE)
        self.rejected = rejected


class Direct:
    """The adapter of *dialect* with CONFIG and *changes* of the dialect's table."""

    def __init__(self, dialect: str, **changes: Any) -> None:
        settings = resolve(merged(CONFIG, {dialect: changes}), dialects(ADAPTERS))
        [adapter] = [one for one in ADAPTERS if one.dialect == dialect]
        self.adapter: AnyAdapter = adapter(settings.dialects[dialect])
        self.records: list[EventRecord] = []
        self.rejected: list[Rejected] = []
        self._keys: set[bytes] = set()
        self._routes = Routes([self.adapter])
        self._keyring = Keyring()
        self._keyring.add(dialect, self.adapter.credentials())

    def send(
        self, method: str, path: str, body: Any = b"", headers: Headers | None = None
    ) -> DirectAnswer:
        """Send a request; *body* may be bytes, or anything that json can write."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = CIMultiDict(headers or {})
        head = Head(method, normal(path), {}, given.get, lambda name: given.getall(name, ()))
        tenant, result, outcomes = None, ParseResult([], []), list[Outcome]()
        try:
            match = self._routes.find(head.path)
            if match is None:
                raise Refusal(Reason.NO_SUCH_ADDRESS)
            head = Head(method, head.path, match.params, head.header, head.headers)
            endpoint = match.endpoint(method)
            assert isinstance(endpoint, Ingest)
            credential, name = self._keyring.find(self.adapter.dialect, self.adapter.secret(head))
            tenant = self.adapter.admit(head, credential)
            if endpoint.media_types and not endpoint.media_types(given.get("Content-Type", "")):
                raise Refusal(Reason.MEDIA_TYPE_UNSUPPORTED)
            inbound = Inbound(head, tenant, data, NOW, "127.0.0.1", sender_of(name, ""))
            result = _read(endpoint, inbound)
            self.rejected += result.rejected
            if result.rejected and not result.records:
                raise _invalid(result)
            outcomes = self._store(result.records)
            problems = [problem for one in result.rejected for problem in one.absolute_problems()]
            receipt = Receipt(outcomes, result.rejections, problems)
            reply = self.adapter.accepted(inbound, receipt)
        except Refusal as refusal:
            reply = self.adapter.refused(refusal, head, tenant)
        return DirectAnswer(reply, outcomes, result.rejections)

    def _store(self, records: Iterable[EventRecord]) -> list[Outcome]:
        outcomes = []
        for record in records:
            duplicate = record.key in self._keys
            outcomes.append(Outcome.DUPLICATE if duplicate else Outcome.STORED)
            if not duplicate:
                self.records.append(record)
            if record.key is not None:
                self._keys.add(record.key)
        return outcomes

    def events(self) -> list[dict[str, Any]]:
        """The records of accepted requests, as `gateway export` writes them.

        Their data is as it is stored: an export cannot have half of a surrogate pair.
        """
        return [
            json.loads(cloudevent(at, record)) | {"data": json.loads(record.data)}
            for at, record in enumerate(self.records)
        ]


def _read(endpoint: Ingest[Any], inbound: Inbound[Any]) -> ParseResult:
    try:
        raws = [raw for part in endpoint.split(inbound) for raw in part]
        result = ParseResult([], [], batch=endpoint.batch)
        while result.elements < len(raws):
            endpoint.read(inbound, raws, result)
        return result
    except Unreadable as error:
        raise Refusal(Reason.NOT_JSON, problems=[Problem("", str(error))]) from None


def _invalid(result: ParseResult) -> Refusal:
    problems = [problem for one in result.rejected for problem in one.absolute_problems()]
    return Refusal(Reason.INVALID, problems=problems)


class DirectMoesif(Direct):
    """The Moesif dialect, spoken by the tenant acme."""

    def __init__(self, **changes: Any) -> None:
        super().__init__("moesif", **changes)

    def post(self, path: str, body: Any, **headers: str) -> DirectAnswer:
        """POST to *path*."""
        return self.send("POST", path, body, {"X-Moesif-Application-Id": APPLICATION_ID, **headers})


class DirectLogspace(Direct):
    """The Logspace dialect, spoken by the space development."""

    def __init__(self, **changes: Any) -> None:
        super().__init__("logspace", **changes)

    def put(self, body: Any, **headers: str) -> DirectAnswer:
        """PUT /events."""
        return self.send("PUT", "/events", body, {"logspace.space-token": "development", **headers})


class DirectDevice(Direct):
    """The device dialect, spoken with the key K1."""

    def __init__(self, **changes: Any) -> None:
        super().__init__("device", **changes)

    def post(
        self, body: Any, tenant: str = "T1", device: str = "D1", **headers: str
    ) -> DirectAnswer:
        """POST an event of *device*."""
        path = f"/rest/v1/api/tenants/{tenant}/devices/{device}/events"
        sent = {"X-Moki-TenantAPIToken": "K1", "Content-Type": "application/json", **headers}
        return self.send("POST", path, body, sent)


class DirectOtlp(Direct):
    """OTLP, spoken by the tenant acme."""

    def __init__(self, **changes: Any) -> None:
        super().__init__("otlp", **changes)

    def post(
        self, path: str, body: Any, media_type: str = "application/json", **headers: str
    ) -> DirectAnswer:
        """POST to *path*."""
        known = {"X-Moesif-Application-Id": APPLICATION_ID, "Content-Type": media_type}
        return self.send("POST", path, body, {**known, **headers})
