"""The document of the tenant/device endpoint: one event, six fields, no leniency about types."""

from collections.abc import Iterator, Mapping
from typing import Literal

from marshmallow import ValidationError, fields, validate

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


def _device_id() -> fields.String:
    return fields.String(validate=_check_device_id)


def _check_device_id(device: str) -> None:
    """Refuse an id that no path could name."""
    if not device:
        raise ValidationError("Must not be empty.")
    if "/" in device or not device.isprintable():
        raise ValidationError("Must not contain '/' or characters that cannot be printed.")


class DeviceTenant(TenantTable):
    """A tenant and its devices."""

    tenant: str = option(TenantName(), "{tenantId} in the path.")
    devices: tuple[str, ...] = items(_device_id(), "{deviceId}s that exist.", default=())
    serials: Mapping[str, str] = mapping(
        "Devices by serial number: sn-!-SERIAL is an alias of the device."
    )
    provisioning: Provisioning = option(
        Choice(Provisioning),
        "open: the first valid event of a device creates it.",
        default="closed",
    )
    max_devices: int = option(
        Count(1), "Devices that open provisioning may create.", default=100_000
    )
    acknowledge: Acknowledge = option(
        Choice(Acknowledge),
        "queued: answer 202 when the event is in the spool.",
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
        _device_id(),
        "Devices it may write for; absent: every device of those tenants.",
        default=None,
    )


class Options(Table):
    """The table ``[device]``."""

    max_body: int = option(
        Count(1), "Largest body after decompression, in bytes.", default=1_048_576
    )
    accept_app_key: bool = option(Flag(), "Use appKey if appId is missing.", default=True)
    lenient_description: bool = option(
        Flag(), 'Treat a missing or null description as "".', default=False
    )
    conflict: Conflict = option(
        Choice(Conflict),
        "What makes a duplicate (409). event: the whole event. "
        "instant: only tenant, device, typeId and timestamp.",
        default="event",
    )
    hide_foreign_tenants: bool = option(
        Flag(),
        "Answer 403 instead of 404 for unknown tenants.",
        default=False,
    )
    max_future_ms: int | None = option(
        Count(0),
        "Refuse timestamps further in the future, in milliseconds; absent: refuse none.",
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

    def find_doubts(self) -> Iterator[Problem]:
        """Keys name devices that exist, unless requests have created them."""
        tenants = {tenant.tenant: tenant for tenant in self.tenants}
        for at, key in enumerate(self.keys):
            opened = [tenants[name] for name in key.tenants]
            if any(tenant.provisioning == "open" for tenant in opened):
                continue
            known = {device for tenant in opened for device in tenant.devices}
            for place, device in enumerate(key.devices or ()):
                if device not in known:
                    yield Problem(
                        f"keys[{at}].devices[{place}]",
                        f"No tenant of this key has a device '{device}' in its devices.",
                    )
