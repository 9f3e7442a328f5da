"""The document of the tenant/device endpoint: one event, six fields, no leniency about types."""

from collections.abc import Iterator, Mapping
from typing import Literal

from marshmallow import fields, validate

from schemas.base import Lenient, Problem
from schemas.fields import Object
from schemas.options import Choice, Count, Flag, Secret, TenantName, TenantTable
from schemas.table import Table, items, mapping, option, tables

Acknowledge = Literal["stored", "queued"]
Conflict = Literal["event", "instant"]
Provisioning = Literal["closed", "open"]

MAX_TIMESTAMP = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_NO_SPACES = r"^[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z"


class Event(Lenient):
    """The body of ``POST /rest/v1/api/tenants/{tenantId}/devices/{deviceId}/events``."""

    type_id = fields.String(
        required=True,
        data_key="typeId",
        validate=[
            validate.Length(min=1, max=24),
            validate.Regexp(_NO_SPACES, error="Contains a space or a control character."),
        ],
    )
    description = fields.String(required=True, validate=validate.Length(max=255))
    app_id = fields.String(
        required=True, data_key="appId", validate=validate.Length(min=1, max=255)
    )
    severity = fields.Integer(required=True, strict=True, validate=validate.Range(min=1, max=5))
    data = Object(required=True)
    timestamp = fields.Integer(
        required=True, strict=True, validate=validate.Range(min=0, max=MAX_TIMESTAMP)
    )


class DeviceTenant(TenantTable):
    """A tenant and its devices."""

    tenant: str = option(TenantName(), "{tenantId} in the path.")
    devices: tuple[str, ...] = items(fields.String(), "{deviceId}s that exist.", default=())
    serials: Mapping[str, str] = mapping(
        "Serial numbers: sn-!-SERIAL is an alias of the device named here."
    )
    provisioning: Provisioning = option(
        Choice(Provisioning),
        "open: an unknown device is created by its first valid event.",
        default="closed",
    )
    max_devices: int = option(
        Count(1), "Devices that open provisioning may create.", default=100_000
    )
    acknowledge: Acknowledge = option(
        Choice(Acknowledge),
        "queued: answer 202 from the spool, before the store has the event.",
        default="stored",
    )

    def find_problems(self) -> Iterator[Problem]:
        """Serial numbers name devices that exist."""
        if self.provisioning == "open":
            return
        for serial, device in self.serials.items():
            if device not in self.devices:
                yield Problem(f"serials.{serial}", f"There is no device '{device}' in devices.")


class Key(Table):
    """An API key and what it opens."""

    key: str = option(Secret(), "The key; plain or sha256:<hex>.")
    tenants: tuple[str, ...] = items(fields.String(), "Tenants it may write to.")
    devices: tuple[str, ...] | None = items(
        fields.String(),
        "Devices it may write for; absent: every device of those tenants.",
        default=None,
    )


class Options(Table):
    """The table ``[device]``."""

    max_body: int = option(
        Count(1), "Largest body after decompression, in bytes.", default=1_048_576
    )
    accept_app_key: bool = option(
        Flag(), "Take appKey for appId where appId is missing.", default=True
    )
    lenient_description: bool = option(
        Flag(), 'Take a missing or null description for "".', default=False
    )
    conflict: Conflict = option(
        Choice(Conflict),
        "What 409 compares: the whole event, or only tenant, device, type and timestamp.",
        default="event",
    )
    hide_foreign_tenants: bool = option(
        Flag(),
        "Answer 403 for every tenant that a key is not bound to, 404 for none.",
        default=False,
    )
    max_future_ms: int | None = option(
        Count(0),
        "Refuse timestamps further ahead than this, in ms; absent: refuse none.",
        default=None,
    )
    tenants: tuple[DeviceTenant, ...] = tables(DeviceTenant, "Who owns devices.", unique="tenant")
    keys: tuple[Key, ...] = tables(Key, "Who may report.")

    def find_problems(self) -> Iterator[Problem]:
        """Keys name tenants that exist."""
        known = {tenant.tenant for tenant in self.tenants}
        for at, key in enumerate(self.keys):
            for place, name in enumerate(key.tenants):
                if name not in known:
                    yield Problem(
                        f"keys[{at}].tenants[{place}]",
                        f"There is no tenant '{name}' in [[device.tenants]].",
                    )
