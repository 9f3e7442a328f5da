"""Documents of the Logspace event API.

The fields are those of the public page. Properties may be scalars, as on that
page, or arrays, as agents since 0.3.0 send them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from marshmallow import ValidationError, fields, validate

from schemas import quartz
from schemas.base import Lenient, Problem
from schemas.fields import (
    INT32,
    INT64,
    Boolean,
    Name,
    Properties,
    Real,
    RequiredText,
    Several,
    Text,
    Whole,
)
from schemas.jsontext import Unreadable
from schemas.options import (
    Choice,
    Count,
    Flag,
    Folder,
    FolderOf,
    OnInvalid,
    Redaction,
    Secret,
    TenantName,
    TenantTable,
)
from schemas.table import Table, items, option, tables
from schemas.timestamps import Timestamp


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
    trigger_types = Several(fields.String(), most=100, data_key="trigger-types")


class Capabilities(Lenient):
    """The body of ``PUT /capabilities/{controller-id}``, as agents 0.3.x send it."""

    id = RequiredText()
    agent_capabilities = Several(
        fields.Nested(AgentCapability), most=1_000, data_key="agent-capabilities"
    )


class Space(TenantTable):
    """A space and the tokens that write to it."""

    tenant: str = option(TenantName(), "The name of the space.")
    tokens: tuple[str, ...] = items(
        Secret(), "What logspace.space-token may be; plain or sha256:<hex>."
    )

    def find_doubts(self) -> Iterator[Problem]:
        """A space of a file may have lost its tokens."""
        if not self.tokens:
            yield Problem("", f"{self.tenant}.space has no token: nobody can write to the space.")


def spaces_of(files: Mapping[Path, bytes]) -> tuple[Space, ...]:
    """The spaces of ``<space>.space`` files as HQ keeps them: each line a token or a comment.

    Raises:
        Unreadable: a file is not UTF-8.
    """
    spaces = []
    for path, content in files.items():
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Unreadable(f"{path.name} is not UTF-8.") from None
        lines = map(str.strip, text.splitlines())
        tokens = tuple(line for line in lines if line[:1] not in ("", "#"))
        spaces.append(Space(tenant=path.stem, tokens=tokens, redact=Redaction()))
    return tuple(spaces)


class Cron(fields.String):
    """A schedule that Quartz takes."""

    def __init__(self) -> None:
        super().__init__(validate=_check_cron)


def _check_cron(expression: str) -> None:
    if faults := list(quartz.find_faults(expression)):
        raise ValidationError(faults)


class Options(Table):
    """The table ``[logspace]``."""

    max_body: int = option(
        Count(1), "Largest body after decompression, in bytes.", default=134_217_728
    )
    on_invalid: OnInvalid | None = option(
        Choice(OnInvalid), "As in [ingest], for this dialect alone.", default=None
    )
    spaces_directory: tuple[Space, ...] | None = option(
        FolderOf("*.space", spaces_of),
        "A folder of the HQ's <space>.space files, one token on each line, read at start.",
        default=None,
    )
    orders_directory: str | None = option(
        Folder(),
        "A folder of <controller-id>.json files, the answers to GET /orders.",
        default=None,
    )
    default_orders: bool = option(
        Flag(), "Without a file, compose orders from uploaded capabilities.", default=False
    )
    default_cron: str = option(
        Cron(),
        "Schedule in composed orders (Quartz syntax).",
        default="0 * * * * ? *",
    )
    commit_max_seconds: int = option(
        Count(1),
        "Longest interval between uploads in composed orders, in seconds.",
        default=60,
    )
    spaces: tuple[Space, ...] = tables(Space, "Who may report.", unique="tenant")
