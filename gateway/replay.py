"""Replay: quarantined events are read again and stored, once their cause is mended.

They take the path of every other event, from the adapter that reads them to the commit,
with the tenant, the sender and the time of receipt with which they came in. A record leaves
the quarantine only after its events are durable. If that is interrupted, the events are
known when it is replayed again: one that has no identity in its dialect has that of its
quarantined record.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from gateway.adapter import (
    AnyAdapter,
    AnyInbound,
    AnyIngest,
    Credential,
    Head,
    Inbound,
    Ingest,
    ParseResult,
    Tenant,
)
from gateway.capabilities import Provisions
from gateway.care import Progress
from gateway.errors import Reason, Refusal, StoreError
from gateway.intake.intake import Intake
from gateway.intake.quarantine import CONFLICT, Content
from gateway.intake.redact import MASK, WITHHELD
from gateway.ops.metrics import Metrics
from gateway.record import EventRecord, Outcome, clock, key_of
from gateway.rejected import Wanted, content_of, sequences_of
from gateway.store import Documents, Quarantined, Store
from gateway.web.provisioning import Provisioning
from gateway.web.reading import let_others, read_on
from gateway.web.routes import Routes, normal
from schemas import Problem, TooMany, Unreadable

_AT_ONCE = 50
"""Records that are replayed at the same time, in one transaction mostly."""

_OTHER_MASK = MASK.upper()
"""What is put in the place of masked values, to see whether an identity depends on them."""

_LAST_SECONDS = 5.0
_SAID = {
    Reason.TENANT_UNKNOWN: "No credential of the configuration opens its tenant any more.",
    Reason.DEVICE_UNKNOWN: "Its tenant has no such device.",
}


class Order(msgspec.Struct, frozen=True):
    """What is to be replayed. `text` takes the place of the text of the one record that is meant.

    `path` is the address to which they were sent, for records that do not tell it. With
    `dry_run` nothing is stored.
    """

    wanted: Wanted
    text: str | None = None
    path: str | None = None
    dry_run: bool = False


class Replayed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one quarantined record.

    `outcome` is ``stored``, ``duplicate`` (all of its events were stored before), ``queued``
    (they are in the spool), ``valid`` (they would be stored), ``refused`` (it stays in
    quarantine, `problems` say why) or ``gone`` (it is not in quarantine).
    """

    id: str
    outcome: str
    sequence: int = 0
    tenant: str = ""
    events: int = 0
    problems: Sequence[Problem] = ()


class Report(msgspec.Struct, frozen=True):
    """What became of the records. `stopped` says why not all were tried; repeat it then."""

    replayed: list[Replayed]
    stopped: str = ""


class _Ready(msgspec.Struct, frozen=True):
    """The events of a quarantined record, read again."""

    adapter: AnyAdapter
    inbound: AnyInbound
    reading: ParseResult


class Replay:
    """Replays what is in the quarantine of *store*, as *adapters* and *intake* now are."""

    def __init__(
        self,
        adapters: Sequence[AnyAdapter],
        intake: Intake,
        store: Store,
        documents: Documents,
        metrics: Metrics,
        max_event: int,
    ) -> None:
        self._routes = Routes(adapters)
        self._intake = intake
        self._store = store
        self._metrics = metrics
        self._max_event = max_event
        self._openers: Mapping[tuple[str, str], Sequence[Credential]] = _openers(adapters)
        self._provisioning = {
            one.dialect: Provisioning(one.dialect, one, documents)
            for one in adapters
            if isinstance(one, Provisions)
        }

    async def run(self, order: Order, progress: Progress) -> Report:
        """Replay what *order* says, the oldest first.

        Raises:
            StoreError: the store cannot be read; or a text is given, and not one record fits.
        """
        sequences = sorted(await sequences_of(self._store, order.wanted))
        if order.text is not None and len(sequences) != 1:
            raise StoreError(f"A text takes the place of one record's, and {len(sequences)} fit.")
        done: list[Replayed] = []
        stopped = ""
        met: set[str] = set()
        for at in range(0, len(sequences), _AT_ONCE):
            found: list[Quarantined] = []
            for sequence in sequences[at : at + _AT_ONCE]:
                page = await self._store.quarantined(before=sequence + 1, limit=1)
                found += (one for one in page if one.sequence == sequence)
            met |= {name for one in found for name in (str(one.sequence), one.id)}
            some, stopped = await self._replay(found, order)
            done += some
            progress("replayed", len(done), len(sequences))
            if stopped:
                break
        else:
            gone = sorted(order.wanted.ids - met)
            done += (Replayed(name, "gone") for name in gone)
        for provisioning in self._provisioning.values():
            await provisioning.close(_LAST_SECONDS)
        return Report(done, stopped)

    async def _replay(
        self, found: Sequence[Quarantined], order: Order
    ) -> tuple[list[Replayed], str]:
        """Replay some; return what became of them, and why it cannot go on."""
        results = await asyncio.gather(
            *(self._one(one, order) for one in found), return_exceptions=True
        )
        done: list[Replayed] = []
        stopped = ""
        for result in results:
            if isinstance(result, StoreError | Refusal):
                stopped = str(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                done.append(result)
        durable = [one.sequence for one in done if one.outcome in _DURABLE]
        if durable and not order.dry_run:
            try:
                await self._store.release(durable, "replay", clock())
            except StoreError as error:
                stopped = f"{error} What is stored is still in quarantine."
        return done, stopped

    async def _one(self, one: Quarantined, order: Order) -> Replayed:
        """Replay one record. Raises Refusal or StoreError where events cannot be stored now."""
        try:
            ready = await self._read(one, order)
        except _Unfit as error:
            return _result(one, "refused", problems=error.problems)
        records = ready.reading.records
        if order.dry_run:
            known = await self._store.known([record.identity for record in records])
            every = known.issuperset(record.identity for record in records)
            return _result(one, "duplicate" if every else "valid", len(records))
        dialect, tenant = ready.adapter.dialect, ready.inbound.tenant.name
        receipt = await self._intake.accept(
            dialect, ready.inbound, ready.reading, on_invalid="refuse", queue=False
        )
        self._metrics.accepted(dialect, tenant, receipt.tally, 0, len(ready.inbound.body))
        if dialect in self._provisioning:
            await self._provisioning[dialect].record(ready.inbound, receipt)
        outcomes = set(receipt.outcomes)
        told = next(one for one in _FIRST if one in outcomes)
        return _result(one, told.value, len(records))

    async def _read(self, one: Quarantined, order: Order) -> _Ready:
        """Read a record again, with a key for each of its events. Raises _Unfit."""
        content = content_of(one.record)
        if one.record.type == CONFLICT and order.text is None:
            raise _Unfit(*content.problems, _OTHER_ID)
        text = _text_of(content, order)
        adapter, endpoint, inbound = self._inbound(one.record, order.path or content.path, text)
        reading = await self._parse(endpoint, inbound, one.record, content)
        if reading.rejected:
            if one.record.type == Reason.NOT_JSON.value and endpoint.batch:
                raise _Unfit(*(p for bad in reading.rejected for p in bad.absolute_problems()))
            raise _Unfit(*reading.rejected[0].problems)
        if not reading.records:
            raise _Unfit(Problem("", "It holds no event."))
        certain = [record.key for record in reading.records]
        if one.record.type == CONFLICT and None not in certain:
            known = await self._store.known([record.identity for record in reading.records])
            if known:
                # As a duplicate it would leave the quarantine, and its content would be lost.
                raise _Unfit(_OTHER_ID)
        if order.text is None and MASK in text:
            # Two events may differ in nothing but what was masked.
            raw = text.replace(MASK, _OTHER_MASK).encode("utf-8", "surrogatepass")
            unmasked = msgspec.structs.replace(inbound, body=raw)
            other = await self._parse(endpoint, unmasked, one.record, content)
            same = {record.key for record in other.records}
            certain = [key if key in same else None for key in certain]
        reading.records = [
            record if key is not None else _with_key_of(one.record, at, record)
            for at, (record, key) in enumerate(zip(reading.records, certain, strict=True))
        ]
        return _Ready(adapter, inbound, reading)

    async def _parse(
        self, endpoint: AnyIngest, inbound: AnyInbound, record: EventRecord, content: Content
    ) -> ParseResult:
        """The events of a body, or the one event that a text is. Raises _Unfit."""
        raws = [inbound.body]
        whole = record.type == Reason.NOT_JSON.value
        reading = ParseResult(
            [],
            [],
            max_event=self._max_event,
            offset=0 if whole else content.position or 0,
            request=content.request,
        )
        try:
            if whole:
                raws = []
                for part in endpoint.split(inbound):
                    raws += part
                    await let_others()
            await read_on(endpoint, inbound, raws, reading)
        except (Unreadable, TooMany) as error:
            raise _Unfit(Problem("", str(error))) from None
        return reading

    def _inbound(
        self, record: EventRecord, path: str, text: str
    ) -> tuple[AnyAdapter, AnyIngest, AnyInbound]:
        """The request as it came in, with *text* for a body. Raises _Unfit."""
        if not path:
            raise _Unfit(
                Problem("", "Nothing tells to which address it was sent; say so with --path.")
            )
        match = self._routes.find(normal(path))
        endpoints = match.methods.items() if match is not None else ()
        for method, endpoint in endpoints:
            if match and match.adapter.dialect == record.dialect and isinstance(endpoint, Ingest):
                adapter = match.adapter
                head = Head(method, path, match.params, lambda _: None, lambda _: ())
                break
        else:
            raise _Unfit(Problem("", f"{path} takes no events of the dialect {record.dialect}."))
        body = text.encode("utf-8", "surrogatepass")
        if len(body) > endpoint.max_body:
            raise _Unfit(Problem("", f"Larger than {endpoint.max_body} bytes."))
        inbound = Inbound(
            head,
            self._admitted(adapter, head, record.tenant),
            body,
            record.received_at,
            record.client_address,
            record.sender,
        )
        return adapter, endpoint, inbound

    def _admitted(self, adapter: AnyAdapter, head: Head, tenant: str) -> Tenant:
        """On whose behalf it was sent, if any credential still opens that. Raises _Unfit."""
        refusal = Refusal(Reason.TENANT_UNKNOWN)
        for credential in self._openers.get((adapter.dialect, tenant), ()):
            try:
                found: Tenant = adapter.admit(head, credential)
            except Refusal as error:
                refusal = error
            else:
                if found.name == tenant:
                    return found
        raise _Unfit(Problem("", _SAID.get(refusal.reason, refusal.reason.value)))


_DURABLE = {outcome.value for outcome in Outcome}
_FIRST = (Outcome.QUEUED, Outcome.STORED, Outcome.DUPLICATE)
"""Which of several outcomes is told."""
_OTHER_ID = Problem("", "Give it with --file and an id that no other event has.")


class _Unfit(Exception):
    """A record is still refused, and why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


def _openers(
    adapters: Sequence[AnyAdapter],
) -> Mapping[tuple[str, str], Sequence[Credential]]:
    """The credentials by the dialect and the tenant that they open."""
    found: dict[tuple[str, str], list[Credential]] = {}
    for adapter in adapters:
        for credential in adapter.credentials():
            for tenant in credential.tenants:
                found.setdefault((adapter.dialect, tenant), []).append(credential)
    return found


def _text_of(content: Content, order: Order) -> str:
    """The text that is read. Raises _Unfit."""
    if order.text is not None:
        return order.text
    if content.raw == WITHHELD or content.raw.startswith('"[withheld'):
        raise _Unfit(Problem("", "Its text was withheld; give it with --file."))
    if content.cut:
        raise _Unfit(
            Problem("", "Perhaps only the beginning of its text was kept; give all with --file.")
        )
    return content.raw


def _with_key_of(quarantined: EventRecord, at: int, record: EventRecord) -> EventRecord:
    kind = f"{record.kind} replayed"
    key = key_of(record.dialect, record.tenant, kind, quarantined.id, str(at))
    return msgspec.structs.replace(record, key=key)


def _result(
    one: Quarantined, outcome: str, events: int = 0, problems: Sequence[Problem] = ()
) -> Replayed:
    tenant = f"{one.record.dialect}/{one.record.tenant}"
    return Replayed(one.id, outcome, one.sequence, tenant, events, problems)
