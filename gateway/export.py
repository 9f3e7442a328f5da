"""Records in the formats that other tools read: CloudEvents 1.0 as JSON lines, CSV, Parquet."""

import csv
import importlib
import io
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from gateway.record import EventRecord
from schemas.times import rfc3339

UNTYPED = {"logspace": "logspace.event"}
"""The type of records without one, because CloudEvents requires a type."""

# An escape, or a pair of escapes that is one character. The group is half of such a pair.
_ESCAPES = re.compile(
    r"\\[^u]|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\u....", re.DOTALL
)


def cloudevent(sequence: int, record: EventRecord) -> bytes:
    """Write *record* as one line, without the newline.

    Attributes as in the CloudEvents 1.0 JSON event format; the extensions are
    dialect, tenant, kind, receivedat, clientaddress, sequence (a decimal string) and,
    where they are known, credential (the first 8 hexadecimal digits of its SHA-256
    digest) and useragent. Times are RFC 3339 in UTC, `data` is the event's own JSON
    text, in which half of a surrogate pair becomes U+FFFD: not every reader takes one.
    """
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": str(uuid.UUID(bytes=record.id)),
        "source": f"/{record.dialect}/{quote(record.tenant, safe='')}",
        "type": record.type or UNTYPED.get(record.dialect, record.kind),
    }
    if record.subject:
        event["subject"] = record.subject
    event |= {
        "time": rfc3339(record.time),
        "datacontenttype": "application/json",
        "dialect": record.dialect,
        "tenant": record.tenant,
        "kind": record.kind,
        "receivedat": rfc3339(record.received_at),
        "clientaddress": record.client_address,
        "sequence": str(sequence),
    }
    if record.sender is not None:
        event["credential"], _, event["useragent"] = record.sender.partition(" ")
    data = _readable(_one_line(record.data)).encode("utf-8", "replace")
    event["data"] = msgspec.Raw(data)
    return msgspec.json.encode(event)


def _one_line(text: str) -> str:
    # In JSON text a line break can only be between tokens, where a space means the same.
    return text.replace("\r", " ").replace("\n", " ") if "\n" in text or "\r" in text else text


def _readable(text: str) -> str:
    if "\\ud" in text or "\\uD" in text:
        return _ESCAPES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    return text


DAMAGES = (msgspec.MsgspecError, ValueError, TypeError, AttributeError, OverflowError)
"""What a record can raise that is not what was once stored."""


class Row(NamedTuple):
    """A record as a row of a table: the columns of CSV and Parquet, in this order.

    Texts are as in `cloudevent`; `subject`, `credential` and `useragent` may be empty. Times
    are in microseconds since 1970 UTC.
    """

    sequence: int
    id: str
    dialect: str
    tenant: str
    kind: str
    type: str
    subject: str
    time: int
    receivedat: int
    clientaddress: str
    credential: str
    useragent: str
    data: str


def row_of(sequence: int, record: EventRecord) -> Row:
    """Make a row of *record*.

    Raises one of `DAMAGES` where it is damaged.
    """
    data = _readable(_one_line(record.data)).encode("utf-8", "replace")
    msgspec.json.decode(data, type=msgspec.Raw)
    credential, _, user_agent = (record.sender or "").partition(" ")
    return Row(
        sequence,
        str(uuid.UUID(bytes=record.id)),
        record.dialect,
        record.tenant,
        record.kind,
        record.type or UNTYPED.get(record.dialect, record.kind),
        record.subject or "",
        record.time,
        record.received_at,
        record.client_address,
        credential,
        user_agent,
        data.decode(),
    )


class Writer(Protocol):
    """Writes records to a file that nobody needs to seek in."""

    def write(self, sequence: int, record: EventRecord) -> None:
        """Write a record.

        Raises one of `DAMAGES` where it is damaged; nothing of it is written then.
        """

    def flush(self) -> None:
        """Hand over what is written so far, as far as the format allows that."""

    def close(self) -> None:
        """Write the end, and hand over everything. The file stays open."""


class JsonLines:
    """A `cloudevent` a line."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.close = self.flush = out.flush

    def write(self, sequence: int, record: EventRecord) -> None:
        line = cloudevent(sequence, record)
        msgspec.json.decode(line, type=msgspec.Raw)
        self._out.write(line + b"\n")


# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection"), also after
# what it passes over.
_FORMULA = re.compile(r"[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


class Csv:
    """CSV as in RFC 4180, with a head.

    Times are RFC 3339 in UTC. A text that a spreadsheet would run as a formula gets an
    apostrophe in front of it.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._text = io.StringIO(newline="")
        self._csv = csv.writer(self._text)
        self._write(Row._fields)
        self.close = self.flush = out.flush

    def write(self, sequence: int, record: EventRecord) -> None:
        row = row_of(sequence, record)
        plain = row._replace(time=0, receivedat=0)
        cells = [_safe(cell) if isinstance(cell, str) else cell for cell in plain]
        for name in ("time", "receivedat"):
            cells[Row._fields.index(name)] = rfc3339(getattr(row, name))
        self._write(cells)

    def _write(self, cells: object) -> None:
        self._csv.writerow(cells)  # type: ignore[arg-type]
        self._out.write(self._text.getvalue().encode("utf-8", "replace"))
        self._text.seek(0)
        self._text.truncate()


def _safe(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


class Parquet:
    """Apache Parquet, in groups of rows that bound the memory."""

    def __init__(self, out: BinaryIO) -> None:
        """Write to *out*.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        try:
            # Any: it has no types of its own.
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise MissingExtra(
                "Parquet needs pyarrow: pip install 'event-gateway[parquet]'."
            ) from error
        arrow, self._out = self._arrow, out
        moment = arrow.timestamp("us", tz="UTC")
        types: Mapping[str, Any] = {"sequence": arrow.int64(), "time": moment, "receivedat": moment}
        self._schema = arrow.schema(
            [arrow.field(name, types.get(name, arrow.string()), False) for name in Row._fields]
        )
        self._file = parquet.ParquetWriter(
            out, self._schema, compression="zstd", use_dictionary=_REPEATED
        )
        self._rows: list[Row] = []
        self._size = 0

    def write(self, sequence: int, record: EventRecord) -> None:
        row = row_of(sequence, record)
        self._rows.append(row)
        self._size += len(row.data)
        if len(self._rows) >= _GROUP_ROWS or self._size >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._rows:
            columns = [
                self._arrow.array(column, type=field.type)
                for field, column in zip(self._schema, zip(*self._rows, strict=True), strict=True)
            ]
            self._file.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._size = [], 0

    def flush(self) -> None:
        """Nothing: a group of rows is written when it is full, or at the end."""

    def close(self) -> None:
        self._write_group()
        self._file.close()
        self._out.flush()


_REPEATED = ["dialect", "tenant", "kind", "type", "clientaddress", "credential", "useragent"]
"""Columns whose texts are the same again and again."""
_GROUP_ROWS = 20_000
_GROUP_BYTES = 16 << 20
"""Rows, and bytes of events, that wait in memory for a group to be full."""


class MissingExtra(Exception):
    """A format needs a package that is not installed."""


FORMATS: Mapping[str, Callable[[BinaryIO], Writer]] = {
    "ndjson": JsonLines,
    "csv": Csv,
    "parquet": Parquet,
}
"""What writes each format."""
