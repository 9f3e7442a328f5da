"""A small dialect of its own, to prove what a new dialect takes: this file and a line.

Its clients send one reading of a meter a request, with a pass.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec
from marshmallow import fields, validate

from gateway.adapter import (
    STATUS,
    Credential,
    Endpoint,
    Head,
    Inbound,
    Ingest,
    ParseResult,
    Rejected,
    Reply,
    Tenant,
)
from gateway.errors import RETRY_AFTER, Refusal
from gateway.record import EventRecord, Outcome, Receipt, key_of, new_id
from schemas import Invalid, Lenient, jsontext
from schemas.decoders import Decoder
from schemas.options import Count, Secret, TenantTable
from schemas.table import Table, items, option, tables


class MeterReading(Lenient):
    """What a meter sends."""

    meter = fields.String(required=True, validate=validate.Length(min=1, max=20))
    number = fields.Integer(required=True, strict=True)
    value = fields.Integer(required=True, strict=True, validate=validate.Range(min=0))


class House(TenantTable):
    """Who has meters."""

    passes: tuple[str, ...] = items(Secret(), "What X-Pass may be.")


class Options(Table):
    """The table ``[tiny]``."""

    max_body: int = option(Count(1), "Largest body in bytes.", default=1000)
    houses: tuple[House, ...] = tables(House, "Who may report.")


READING = Decoder(MeterReading())


class TinyAdapter:
    """Speaks the dialect of meters."""

    dialect: ClassVar[str] = "tiny"
    options: ClassVar[type[Table]] = Options
    prefixes: ClassVar[Sequence[str]] = ("/tiny/",)

    def __init__(self, options: Options) -> None:
        self._options = options

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        return [
            Ingest(
                ("/tiny/{meter}",),
                ("POST",),
                self._options.max_body,
                lambda inbound: [jsontext.require_utf8(inbound.body)],
                self._read,
                batch=False,
            )
        ]

    def folders(self) -> Mapping[str, str]:
        return {}

    def credentials(self) -> Iterable[Credential]:
        for house in self._options.houses:
            for secret in house.passes:
                yield Credential(secret, [house.tenant])

    def secret(self, head: Head) -> str | None:
        return head.header("X-Pass")

    def admit(self, head: Head, credential: Credential) -> Tenant:
        return Tenant(credential.tenants[0])

    def on_invalid(self, default: str) -> str:
        return default

    def provisioned(self, inbound: Inbound) -> tuple[str, str] | None:
        return None

    def recall(self, names: Iterable[tuple[str, str]]) -> None:
        return None

    def wants_queue(self, inbound: Inbound) -> bool:
        return False

    def _read(self, inbound: Inbound, raws: Sequence[bytes], start: int | None) -> ParseResult:
        [raw] = raws
        try:
            reading, text = READING.check(raw)
        except Invalid as error:
            return ParseResult([], [Rejected(None, error.problems, raw)])
        tenant, meter = inbound.tenant.name, inbound.head.params["meter"]
        record = EventRecord(
            id=new_id(inbound.received_at),
            dialect=self.dialect,
            tenant=tenant,
            kind="reading",
            type=reading.meter,
            subject=meter,
            time=inbound.received_at,
            received_at=inbound.received_at,
            client_address=inbound.client_address,
            key=key_of(self.dialect, tenant, "reading", meter, str(reading.number)),
            data=text,
        )
        return ParseResult([record], [])

    def accepted(self, inbound: Inbound, receipt: Receipt) -> Reply:
        return Reply(208 if receipt.outcomes[0] is Outcome.DUPLICATE else 200, b'"thanks"')

    def refused(self, refusal: Refusal, head: Head, tenant: Tenant | None) -> Reply:
        status = STATUS[refusal.reason]
        headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
        if refusal.allowed:
            headers["Allow"] = ", ".join(refusal.allowed)
        said = {"no": refusal.reason.value, "why": [p.path for p in refusal.problems]}
        return Reply(status, msgspec.json.encode(said), headers)
