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
    Boolean,
    Name,
    Properties,
    Real,
    RequiredText,
    Text,
    Timestamp,
    Whole,
)
from schemas.options import (
    Count,
    Flag,
    OnInvalid,
    Secret,
    TenantName,
    TokenFolder,
    help_text,
    redaction,
    unique,
)


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
    boolean_properties = Properties(Boolean(), data_key="boolean-properties")
    date_properties = Properties(
        Timestamp(required=True, zone_required=True), data_key="date-properties"
    )
    double_properties = Properties(Real(), data_key="double-properties")
    float_properties = Properties(Real(), data_key="float-properties")
    integer_properties = Properties(Whole(INT32), data_key="integer-properties")
    long_properties = Properties(Whole(INT64), data_key="long-properties")
    string_properties = Properties(fields.String(), data_key="string-properties")


class AgentCapability(Lenient):
    """What one agent of a controller can do."""

    id = RequiredText()
    trigger_types = fields.List(fields.String(), load_default=list, data_key="trigger-types")


class Capabilities(Lenient):
    """The body of ``PUT /capabilities/{controller-id}``, as agents 0.3.x send it."""

    id = RequiredText()
    agent_capabilities = fields.List(
        fields.Nested(AgentCapability), load_default=list, data_key="agent-capabilities"
    )


class Space(Strict):
    """A space and the tokens that write to it."""

    tenant = TenantName(metadata=help_text("The name of the space."))
    tokens = fields.List(
        Secret(),
        required=True,
        validate=validate.Length(min=1),
        metadata=help_text("What logspace.space-token may be; plain or sha256:<hex>."),
    )
    redact = redaction()


class Options(Strict):
    """The table ``[logspace]``."""

    max_body = Count(16_777_216, 1, "Largest body, inflated, in bytes.")
    on_invalid = OnInvalid(None, "As in [ingest], for this dialect alone.")
    spaces_directory = TokenFolder(
        "A folder of HQ's own <space>.space files, one token a line, read at start."
    )
    orders_directory = fields.String(
        load_default=None,
        allow_none=True,
        metadata=help_text("A folder of <controller-id>.json files that GET /orders answers."),
    )
    default_orders = Flag(
        load_default=False,
        metadata=help_text("Without such a file, compose orders from uploaded capabilities."),
    )
    default_cron = fields.String(
        load_default="0 * * * * ? *",
        validate=validate.Regexp(
            r"^\s*(\S+\s+){5,6}\S+\s*$", error="Not a Quartz expression of 6 or 7 fields."
        ),
        metadata=help_text("When composed orders have scheduled agents report (Quartz)."),
    )
    commit_max_seconds = Count(
        60, 1, "Composed orders have agents upload at least this often, in seconds."
    )
    spaces = fields.List(
        fields.Nested(Space), load_default=list, metadata=help_text("Who may report.")
    )

    @validates("spaces")
    def _once(self, value: list[dict[str, Any]], **_: Any) -> None:
        unique(value, "tenant")
