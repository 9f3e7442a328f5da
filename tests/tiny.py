"""A small dialect, which shows what a new dialect needs: schema, module, golden files, a line.

Its clients send one reading of a meter a request, with a pass.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec
from marshmallow import fields, validate

from gateway.adapter import (
    Adapter,
    Credential,
    Head,
    Inbound,
    Ingest,
    ParseResult,
    Reply,
    Tenant,
)
from gateway.adapters.batch import STATUS, headers_of, read_batch
from gateway.errors import Refusal
from gateway.record import EventRecord, Outcome, Receipt, key_of, new_id
from schemas import Lenient, jsontext
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


READING: Decoder[Any] = Decoder(MeterReading())


class TinyAdapter(Adapter[Options, Credential, Tenant]):
    """Speaks the dialect of meters."""

    dialect: ClassVar[str] = "tiny"
    options: ClassVar[type[Table]] = Options
    prefixes: ClassVar[Sequence[str]] = ("/tiny/",)
    kinds: ClassVar[Sequence[str]] = ("reading",)

    def __init__(self, options: Options) -> None:
        self._options = options

    @property
    def endpoints(self) -> Sequence[Ingest[Tenant]]:
        return [
            Ingest(
                ("/tiny/{meter}",),
                ("POST",),
                self._options.max_body,
                lambda inbound: [[jsontext.require_utf8(inbound.body)]],
                self._read,
                batch=False,
            )
        ]

    def credentials(self) -> Iterable[Credential]:
        for house in self._options.houses:
            for secret in house.passes:
                yield Credential(secret, [house.tenant])

    def secret(self, head: Head) -> str | None:
        return head.credential("X-Pass")

    def admit(self, head: Head, credential: Credential) -> Tenant:
        return Tenant(credential.tenants[0])

    def _read(self, inbound: Inbound[Tenant], raws: Sequence[bytes], result: ParseResult) -> None:
        def record(reading: Any, text: str) -> EventRecord:
            tenant, meter = inbound.tenant.name, inbound.head.params["meter"]
            return EventRecord(
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
                sender=inbound.sender,
            )

        read_batch(READING, raws, result, record)

    def accepted(self, inbound: Inbound[Tenant], receipt: Receipt) -> Reply:
        return Reply(208 if receipt.outcomes[0] is Outcome.DUPLICATE else 200, b'"thanks"')

    def refused(self, refusal: Refusal, head: Head, tenant: Tenant | None) -> Reply:
        status = STATUS[refusal.reason]
        why = [problem.path for problem in refusal.problems]
        body = {"no": refusal.reason.value, "why": why, "hint": refusal.message}
        return Reply(status, msgspec.json.encode(body), headers_of(refusal, status))
