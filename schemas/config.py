"""The operator's configuration: the tables that every gateway has."""

import ipaddress
from collections.abc import Iterator
from typing import Literal

from marshmallow import fields

from schemas.addresses import Address, Network
from schemas.base import Problem
from schemas.options import Choice, Count, Duration, OnConflict, OnInvalid, TenantName
from schemas.table import Table, items, option, schema_of
from schemas.table import tables as array_of

LogLevel = Literal["debug", "info", "warning", "error"]

ForwardedHeader = Literal["X-Forwarded-For", "Forwarded"]
"""The header in which proxies tell whom they ask for."""


class Server(Table):
    """The public listener, for clients."""

    listen: str = option(Address(), "Where clients connect.", default="127.0.0.1:8080")
    body_timeout: int = option(
        Count(1),
        "Seconds for a body, or a piece of a large batch, to arrive; then 408.",
        default=30,
    )
    write_timeout: int = option(
        Count(1), "Seconds for a client to read an answer; then it is closed.", default=30
    )
    keepalive_timeout: int = option(
        Count(1), "Seconds that an idle connection stays open.", default=75
    )
    shutdown_timeout: int = option(
        Count(1), "Seconds to answer open requests when the gateway stops.", default=30
    )
    certificate: str | None = option(
        fields.String(), "PEM file of a certificate and its chain, to serve TLS.", default=None
    )
    key: str | None = option(
        fields.String(), "PEM file of its key, if the first has none.", default=None
    )
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = items(
        Network(), "Proxies whose word on the address of a client counts.", default=()
    )
    forwarded_header: ForwardedHeader = option(
        Choice(ForwardedHeader),
        "The header to which these proxies add the address that asked them.",
        default="X-Forwarded-For",
    )


class Ops(Table):
    """The operator's listener: /livez, /readyz, /metrics; and the socket for commands."""

    listen: str = option(Address(), "Where operators and probes connect.", default="127.0.0.1:8081")
    hosts: tuple[str, ...] = items(
        fields.String(),
        "Host names by which it may be asked for, beside localhost and addresses.",
        default=(),
    )
    control: str | None = option(
        fields.String(),
        "A Unix socket for commands to the running gateway; by default beside the store.",
        default=None,
    )


class Store(Table):
    """The store."""

    url: str = option(
        fields.String(),
        "sqlite:///relative.db, sqlite:////absolute.db, or PostgreSQL (docs/scaling.md).",
        default="sqlite:///events.db",
    )
    deadline: int = option(
        Count(1),
        "Seconds that a request waits for the store before its events go to the spool.",
        default=2,
    )


class Spool(Table):
    """The spool, which keeps events while the store is unavailable."""

    path: str | None = option(
        fields.String(),
        "A file on the local disk; by default spool.db in the directory of the store.",
        default=None,
    )
    max_events: int = option(
        Count(1), "Events that the spool may hold; then 503.", default=1_000_000
    )


class Ingest(Table):
    """What all dialects have in common."""

    on_invalid: OnInvalid = option(
        Choice(OnInvalid),
        "quarantine: quarantine invalid events, store the others. refuse: one invalid event "
        "refuses its request. accept: as quarantine, with success even if no event is valid.",
        default="quarantine",
    )
    on_conflict: OnConflict = option(
        Choice(OnConflict),
        "What to do with the other content of an id that is stored. drop: count it. keep: "
        "quarantine it before the answer.",
        default="drop",
    )
    max_event: int = option(
        Count(1),
        "Largest event in bytes; then 413, or quarantine if it is one of a batch.",
        default=1_048_576,
    )
    max_waiting_events: int = option(
        Count(1), "Events that may wait for the disk; then 503.", default=20_000
    )
    max_waiting_bytes: int = option(
        Count(1), "Bytes of events that may wait for the disk; then 503.", default=67_108_864
    )


class Rate(Table):
    """How much of something may come."""

    rate: int = option(Count(1), "How much a second in the long run.")
    burst: int | None = option(
        Count(1), "How much at once after a pause; by default that of a second.", default=None
    )


class Limits(Table):
    """What clients may take of the gateway, in all and each tenant."""

    connections: int | None = option(
        Count(1),
        "Connections of clients; one more is closed at once. By default as many as files allow.",
        default=None,
    )
    connections_per_address: int | None = option(
        Count(1),
        "Of these, connections from one address; trusted proxies may have more. No limit if "
        "absent.",
        default=None,
    )
    inflight_bytes: int = option(
        Count(1),
        "Bytes that the requests being answered may hold in memory; then 503.",
        default=134_217_728,
    )
    tenant_inflight_bytes: int = option(
        Count(1),
        "Of these, bytes that the requests of one tenant may hold; then 503.",
        default=67_108_864,
    )
    tenant_inflight_requests: int | None = option(
        Count(1),
        "Requests of one tenant that may be answered at the same time; then 503. No limit if "
        "absent.",
        default=None,
    )
    tenant_requests: Rate | None = option(
        fields.Nested(schema_of(Rate)), "Requests of each tenant a second.", default=None
    )
    tenant_events: Rate | None = option(
        fields.Nested(schema_of(Rate)), "Events of each tenant a second.", default=None
    )
    tenant_bytes: Rate | None = option(
        fields.Nested(schema_of(Rate)), "Bytes of each tenant a second.", default=None
    )
    device_requests: Rate | None = option(
        fields.Nested(schema_of(Rate)), "Requests of each device a second.", default=None
    )
    device_events: Rate | None = option(
        fields.Nested(schema_of(Rate)), "Events of each device a second.", default=None
    )
    device_bytes: Rate | None = option(
        fields.Nested(schema_of(Rate)), "Bytes of each device a second.", default=None
    )


class Quarantine(Table):
    """The quarantine, which keeps invalid content of known clients."""

    max_records: int = option(
        Count(0),
        "Quarantined records to keep; then the oldest of whichever tenant has most are deleted.",
        default=10_000,
    )
    max_bytes: int = option(
        Count(0),
        "Bytes of quarantined records to keep; then the oldest of whichever tenant has most of "
        "them are deleted.",
        default=268_435_456,
    )


class RetentionRule(Table):
    """How long, and how many, events of a dialect, tenant and kind are kept.

    What is not named is any.
    """

    dialect: str | None = option(fields.String(), "Only this dialect.", default=None)
    tenant: str | None = option(TenantName(), "Only this tenant.", default=None)
    kind: str | None = option(fields.String(), "Only this kind.", default=None)
    max_age: int | None = option(
        Duration(), "How long they are kept; for ever if absent.", default=None
    )
    max_bytes: int | None = option(
        Count(1 << 20),
        "Bytes that all of them may have, 100 for each besides its data; then the oldest go. Any "
        "number if absent.",
        default=None,
    )

    def find_problems(self) -> Iterator[Problem]:
        """A rule that names nothing would replace `max_age` of the store."""
        if self.dialect is None and self.tenant is None and self.kind is None:
            yield Problem("", "Name a dialect, a tenant or a kind.")


class Retention(Table):
    """What the store deletes by itself: nothing, unless an option says so."""

    max_age: int | None = option(
        Duration(), "How long events are kept that no rule names; for ever if absent.", default=None
    )
    max_bytes: int | None = option(
        Count(1 << 20),
        "The size of the store's file, within 10 %; then the oldest events go, whatever the rules.",
        default=None,
    )
    rules: tuple[RetentionRule, ...] = array_of(
        RetentionRule, "Other bounds for some events; the first rule that fits counts."
    )


class Log(Table):
    """The log, on stderr."""

    level: LogLevel = option(
        Choice(LogLevel),
        "debug, info, warning or error; requests are logged at info.",
        default="info",
    )
