"""Documents of the Logspace event API.

The fields are those of the public page. Properties may be scalars, as on that
page, or arrays, as agents since 0.3.0 send them.
"""

from typing import Any

from marshmallow import fields, validate, validates

from schemas.base import Lenient, Strict
from schemas.fields import (
    INT32,
    INT64,
    Flag,
    Name,
    Properties,
    Real,
    RequiredText,
    Text,
    Timestamp,
    Whole,
)
from schemas.options import Count, OnInvalid, Secret, TenantName, meaning, redaction, unique


class Event(Lenient):
    """One element of the array that ``PUT /events`` takes."""

    id = fields.String(required=True, validate=validate.Length(min=1))
    type = Name()
    system = RequiredText()
    agent_id = RequiredText(data_key="agent-id")
    timestamp = Timestamp(required=True, zone_required=True)
    pid = Text()
    gid = Text()
    marker = Text()
    boolean_properties = Properties(Flag(), data_key="boolean-properties")
    date_properties = Properties(
        Timestamp(required=True, zone_required=True), data_key="date-properties"
    )
    double_properties = Properties(Real(), data_key="double-properties")
    float_properties = Properties(Real(), data_key="float-properties")
    integer_properties = Properties(Whole(INT32), data_key="integer-properties")
    long_properties = Properties(Whole(INT64), data_key="long-properties")
    string_properties = Properties(fields.String(), data_key="string-properties")


class Space(Strict):
    """A space and the tokens that write to it."""

    tenant = TenantName(metadata=meaning("The name of the space."))
    tokens = fields.List(
        Secret(),
        required=True,
        validate=validate.Length(min=1),
        metadata=meaning("What logspace.space-token may be; plain or sha256:<hex>."),
    )
    redact = redaction()


class Options(Strict):
    """The table ``[logspace]``."""

    max_body = Count(16_777_216, 1, "Largest body, inflated, in bytes.")
    on_invalid = OnInvalid(None, "As in [ingest], for this dialect alone.")
    spaces = fields.List(
        fields.Nested(Space), load_default=list, metadata=meaning("Who may report.")
    )

    @validates("spaces")
    def _once(self, value: list[dict[str, Any]], **_: Any) -> None:
        unique(value, "tenant")
