"""The document of the tenant/device endpoint: one event, six fields, no leniency about types."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates, validates_schema

from schemas.base import Lenient, Strict
from schemas.fields import Object
from schemas.options import Count, Flag, Secret, TenantName, help_text, redaction, unique

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


class DeviceTenant(Strict):
    """A tenant and its devices."""

    tenant = TenantName(metadata=help_text("{tenantId} in the path."))
    devices = fields.List(
        fields.String(), load_default=list, metadata=help_text("{deviceId}s that exist.")
    )
    serials = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        load_default=dict,
        metadata=help_text("Serial numbers: sn-!-SERIAL is an alias of the device named here."),
    )
    provisioning = fields.String(
        load_default="closed",
        validate=validate.OneOf(("closed", "open"), error="Not one of: closed, open."),
        metadata=help_text("open: an unknown device is created by its first valid event."),
    )
    max_devices = Count(100_000, 1, "Devices that open provisioning may create.")
    acknowledge = fields.String(
        load_default="stored",
        validate=validate.OneOf(("stored", "queued"), error="Not one of: stored, queued."),
        metadata=help_text("queued: answer 202 from the spool, before the store has the event."),
    )
    redact = redaction()

    @validates_schema
    def _serials_name_devices(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("provisioning") == "open":
            return
        faults = {
            serial: [f"There is no device '{device}' in devices."]
            for serial, device in data.get("serials", {}).items()
            if device not in data.get("devices", ())
        }
        if faults:
            raise ValidationError({"serials": faults})


class Key(Strict):
    """An API key and what it opens."""

    key = Secret(required=True, metadata=help_text("The key; plain or sha256:<hex>."))
    tenants = fields.List(
        fields.String(),
        required=True,
        validate=validate.Length(min=1),
        metadata=help_text("Tenants it may write to."),
    )
    devices = fields.List(
        fields.String(),
        load_default=None,
        allow_none=True,
        metadata=help_text("Devices it may write for; absent: every device of those tenants."),
    )


class Options(Strict):
    """The table ``[device]``."""

    max_body = Count(1_048_576, 1, "Largest body, inflated, in bytes.")
    accept_app_key = Flag(
        load_default=True, metadata=help_text("Take appKey for appId where appId is missing.")
    )
    lenient_description = Flag(
        load_default=False, metadata=help_text('Take a missing or null description for "".')
    )
    conflict = fields.String(
        load_default="event",
        validate=validate.OneOf(("event", "instant"), error="Not one of: event, instant."),
        metadata=help_text(
            "What 409 compares: the whole event, or only tenant, device, type and timestamp."
        ),
    )
    hide_foreign_tenants = Flag(
        load_default=False,
        metadata=help_text("Answer 403 for every tenant that a key is not bound to, 404 for none."),
    )
    max_future_ms = Count(
        None, 0, "Refuse timestamps further ahead than this, in ms; absent: refuse none."
    )
    tenants = fields.List(
        fields.Nested(DeviceTenant), load_default=list, metadata=help_text("Who owns devices.")
    )
    keys = fields.List(fields.Nested(Key), load_default=list, metadata=help_text("Who may report."))

    @validates("tenants")
    def _once(self, value: list[dict[str, Any]], **_: Any) -> None:
        unique(value, "tenant")

    @validates_schema
    def _keys_name_tenants(self, data: dict[str, Any], **_: Any) -> None:
        known = {tenant["tenant"] for tenant in data.get("tenants", ())}
        faults: dict[int, Any] = {}
        for at, key in enumerate(data.get("keys", ())):
            unknown = {
                place: [f"There is no tenant '{name}' in [[device.tenants]]."]
                for place, name in enumerate(key["tenants"])
                if name not in known
            }
            if unknown:
                faults[at] = {"tenants": unknown}
        if faults:
            raise ValidationError({"keys": faults})
