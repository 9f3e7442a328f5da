"""The tenant/device endpoint.

The numeric `error` of an answer names the culprit (credential, tenant, device,
request, server); the status says what happened.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import ClassVar, Self

import msgspec

from gateway.adapter import (
    Adapter,
    Credential,
    Head,
    Inbound,
    Ingest,
    ParseResult,
    Reply,
    Tenant,
    only,
)
from gateway.adapters.batch import STATUS, headers_of, read_batch
from gateway.adapters.clocks import Clocks
from gateway.adapters.device_events import Event, Events, without_key
from gateway.capabilities import ComparesClocks, Provisions
from gateway.errors import Reason, Refusal
from gateway.record import EventRecord, Outcome, Receipt, key_of, new_id
from schemas import Invalid, Problem, device, jsontext
from schemas.table import Table

PATH = "/rest/v1/api/tenants/{tenant}/devices/{device}/events"
KIND = "device_event"
SERIAL = "sn-!-"
"""What a device id begins with that is the serial number of a device."""

CHALLENGE = 'ApiKey realm="events"'

# reason: (error code, what to say). 0 credential, 4 tenant, 5 device, 6 request, -1 server.
_WORDS: dict[Reason, tuple[int, str]] = {
    Reason.NO_SUCH_ADDRESS: (6, "Unknown address."),
    Reason.METHOD_NOT_ALLOWED: (6, "Only POST is allowed here."),
    Reason.CREDENTIAL_MISSING: (0, "Invalid license: the request has no API key."),
    Reason.CREDENTIAL_UNKNOWN: (0, "Invalid license: the API key is not known."),
    Reason.TENANT_UNKNOWN: (4, "Invalid tenant id: there is no such tenant."),
    Reason.TENANT_FORBIDDEN: (0, "The API key has no access to this tenant."),
    Reason.DEVICE_UNKNOWN: (5, "Invalid device id: the tenant has no such device."),
    Reason.DEVICE_FORBIDDEN: (0, "The API key has no access to this device."),
    Reason.LIMITED: (-1, "The tenant or the device sends too much. Try again later."),
    Reason.BODY_TOO_LARGE: (6, "The body is too large."),
    Reason.BODY_TOO_SLOW: (-1, "The body did not arrive in time."),
    Reason.MEDIA_TYPE_UNSUPPORTED: (6, "Send Content-Type: application/json."),
    Reason.ENCODING_UNSUPPORTED: (6, "Unsupported content encoding."),
    Reason.ENCODING_CORRUPT: (6, "The body does not match its content encoding."),
    Reason.EXPECTATION_UNSUPPORTED: (6, "Unsupported Expect value."),
    Reason.NOT_JSON: (6, "Validation error."),
    Reason.INVALID: (6, "Validation error."),
    Reason.OVERLOADED: (-1, "Too many events are waiting to be stored. Try again later."),
    Reason.UNAVAILABLE: (-1, "The event cannot be stored now. Try again later."),
    Reason.INTERNAL: (-1, "Server unknown server error."),
}


_CREATED = Reply(201, b"{}")


class ApiKey(Credential, frozen=True):
    """A key and the devices that it opens; None opens all devices of its tenants."""

    devices: frozenset[str] | None


class Admitted(Tenant, frozen=True):
    """The tenant and the canonical device that a request is for, and whether it exists yet."""

    device: str
    new: bool

    @property
    def limited_device(self) -> str:
        return self.device


class DeviceAdapter(
    Adapter[device.Options, ApiKey, Admitted], Provisions[Admitted], ComparesClocks
):
    """Speaks the dialect of devices that report one event a request."""

    dialect: ClassVar[str] = "device"
    options: ClassVar[type[Table]] = device.Options
    # Not an id, but what tells the events of one device apart.
    id_members: ClassVar[Sequence[str]] = ("timestamp",)
    prefixes: ClassVar[Sequence[str]] = ("/rest/",)
    kinds: ClassVar[Sequence[str]] = (KIND,)
    created_prefix: ClassVar[str] = "device/"

    def __init__(self, options: device.Options) -> None:
        self._options = options
        self._events = Events(options)
        self._tenants = {tenant.tenant: tenant for tenant in options.tenants}
        self._devices = {name: frozenset(tenant.devices) for name, tenant in self._tenants.items()}
        # By tenant, those of earlier configurations included.
        self._created: dict[str, set[str]] = {}
        self._clocks = Clocks()

    @property
    def endpoints(self) -> Sequence[Ingest[Admitted]]:
        return [
            Ingest(
                (PATH,),
                ("POST",),
                self._options.max_body,
                lambda inbound: [[jsontext.require_utf8(inbound.body)]],
                self._read,
                batch=False,
                media_types=_is_json,
                wants_queue=self._wants_queue,
                masked=without_key,
            )
        ]

    def credentials(self) -> Iterable[ApiKey]:
        for key in self._options.keys:
            devices = None if key.devices is None else frozenset(key.devices)
            yield ApiKey(key.key, list(key.tenants), devices)

    def secret(self, head: Head) -> str | None:
        """The first of the key's headers that is present decides, even if it is empty."""
        for name in ("X-Moki-TenantAPIToken", "X-API-Key"):
            values = head.headers(name)
            if values:
                return only(values)
        scheme, _, token = (head.credential("Authorization") or "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def admit(self, head: Head, credential: ApiKey) -> Admitted:
        """Check tenant, then the key's right to it, then device, then the key's right to that."""
        name = head.params.get("tenant", "")
        if name not in credential.tenants:
            hidden = self._options.hide_foreign_tenants or name in self._tenants
            raise Refusal(Reason.TENANT_FORBIDDEN if hidden else Reason.TENANT_UNKNOWN)
        tenant = self._tenants[name]
        wanted = self._canonical(tenant, head.params["device"])
        allowed = credential.devices is None or wanted in credential.devices
        created = self._created.get(name, ())
        if wanted in self._devices[name] or wanted in created:
            if not allowed:
                raise Refusal(Reason.DEVICE_FORBIDDEN)
            return Admitted(name, wanted, new=False)
        if not allowed and self._options.hide_foreign_tenants:
            raise Refusal(Reason.DEVICE_FORBIDDEN)
        creatable = tenant.provisioning == "open" and allowed and bool(wanted)
        if not creatable or len(created) >= tenant.max_devices:
            raise Refusal(Reason.DEVICE_UNKNOWN)
        return Admitted(name, wanted, new=True)

    def _canonical(self, tenant: device.DeviceTenant, given: str) -> str:
        """The device that an id names; a serial number is an alias, and ids compare exactly."""
        if given.startswith(SERIAL):
            serial = given[len(SERIAL) :]
            return tenant.serials.get(serial, given)
        return given

    def created_document(self, inbound: Inbound[Admitted]) -> str | None:
        """The name of the document of the device that this request's success creates."""
        return f"{self.created_prefix}{inbound.tenant.device}" if inbound.tenant.new else None

    def restore(self, created: Iterable[tuple[str, str]]) -> None:
        """Know the devices that requests created."""
        for tenant, name in created:
            device_id = name.removeprefix(self.created_prefix)
            if device_id not in self._devices.get(tenant, ()):
                self._created.setdefault(tenant, set()).add(device_id)

    def inherit(self, earlier: Self) -> None:
        self._created = earlier._created
        self._clocks = earlier._clocks

    def skewed(self) -> Mapping[tuple[str, str], int]:
        return dict(self._clocks.skewed)

    def on_invalid(self, default: str) -> str:
        """A request is one event: there is nothing to accept where it is invalid."""
        return "quarantine" if default == "accept" else default

    def _wants_queue(self, inbound: Inbound[Admitted]) -> bool:
        if self._tenants[inbound.tenant.name].acknowledge == "queued":
            return True
        return _prefers_async(inbound.head)

    def _read(self, inbound: Inbound[Admitted], raws: Sequence[bytes], result: ParseResult) -> None:
        read_batch(self._events, raws, result, partial(self._record, inbound))

    def _record(self, inbound: Inbound[Admitted], event: Event, text: str) -> EventRecord:
        self._check_time(event, inbound.received_at)
        tenant, device_id = inbound.tenant.name, inbound.tenant.device
        self._clocks.compare(tenant, device_id, event.timestamp, inbound.received_at)
        return EventRecord(
            new_id(inbound.received_at),
            self.dialect,
            tenant,
            KIND,
            event.type_id,
            device_id,
            event.timestamp * 1000,
            inbound.received_at,
            inbound.client_address,
            self._key(tenant, device_id, event),
            text,
            inbound.sender,
        )

    def _check_time(self, event: Event, now: int) -> None:
        bound = self._options.max_future_ms
        if bound is not None and event.timestamp > now // 1000 + bound:
            raise Invalid((Problem("timestamp", f"More than {bound} ms ahead."),))

    def _key(self, tenant: str, device_id: str, event: Event) -> bytes:
        """What 409 compares: by default all six fields, types included, on the canonical device."""
        parts: list[str | bytes] = [
            self.dialect,
            tenant,
            KIND,
            device_id,
            event.type_id,
            str(event.timestamp),
        ]
        if self._options.conflict == "event":
            rest = [event.description, event.app_id, event.severity, event.data]
            try:
                parts.append(jsontext.canonical(rest, strict=True))
            except UnicodeEncodeError:
                raise Invalid((Problem("", "Contains a lone surrogate."),)) from None
        return key_of(*parts)

    def accepted(self, inbound: Inbound[Admitted], receipt: Receipt) -> Reply:
        [outcome] = receipt.outcomes
        if outcome is Outcome.DUPLICATE:
            return _error(409, 6, "This event already exists; it need not be sent again.")
        if outcome is Outcome.STORED:
            return _CREATED
        asked = {"Preference-Applied": "respond-async"} if _prefers_async(inbound.head) else {}
        return Reply(202, b"{}", asked)

    def refused(self, refusal: Refusal, head: Head, tenant: Admitted | None) -> Reply:
        status = 429 if refusal.reason is Reason.LIMITED else STATUS[refusal.reason]
        code, message = _WORDS.get(refusal.reason, (6, refusal.reason.value))
        faults = [f"{p.path}: {p.message}" if p.path else p.message for p in refusal.problems]
        said = " ".join(part for part in (message, refusal.message, *faults) if part)
        headers = headers_of(refusal, status)
        if status == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        return _error(status, code, said, headers)


def _error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Reply:
    # The page's table says errorMessage, its code block message: clients were written from either.
    body = {"error": code, "message": message, "errorMessage": message}
    return Reply(status, msgspec.json.encode(body), headers or {})


def _prefers_async(head: Head) -> bool:
    given = head.headers("Prefer")
    return bool(given) and any(
        part.partition(";")[0].strip().lower() == "respond-async"
        for part in ",".join(given).split(",")
    )


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    """Whether a Content-Type, possibly absent, is JSON in UTF-8."""
    media, *parameters = (part.strip().lower() for part in content_type.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8"):
            return False
    if media in ("", "application/json"):
        return True
    return media.startswith("application/") and media.endswith("+json")
