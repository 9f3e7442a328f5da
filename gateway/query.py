"""What an operator looks for among stored records: newest first, a page at a time."""

from collections.abc import Sequence

import msgspec

from gateway.record import EventRecord, Kind


class Search(msgspec.Struct, frozen=True):
    """Which records to find; None means any.

    `kind` None leaves the quarantine out. `id` is the record's own id, as UUID text, or
    the id that the client gave the event. `since` (inclusive) and `until` (exclusive)
    bound the time of receipt, in microseconds since 1970 UTC. `text` occurs in the event's
    JSON text as it stands there. `before` is the sequence at which an earlier page ended.
    """

    dialect: str | None = None
    tenant: str | None = None
    kind: str | None = None
    type: str | None = None
    subject: str | None = None
    id: str | None = None
    since: int | None = None
    until: int | None = None
    text: str | None = None
    before: int | None = None
    limit: int = 20

    def is_of(self, dialect: str, tenant: str, kind: str) -> bool:
        """Whether it may find records of that dialect, tenant and kind."""
        return (
            self.dialect in (None, dialect)
            and self.tenant in (None, tenant)
            and (kind != Kind.REJECTED if self.kind is None else self.kind == kind)
        )

    def fits(self, record: EventRecord) -> bool:
        """Whether *record* is wanted, whatever `id`, `before` and `limit` are."""
        return (
            self.is_of(record.dialect, record.tenant, record.kind)
            and self.type in (None, record.type)
            and self.subject in (None, record.subject)
            and (self.since is None or record.received_at >= self.since)
            and (self.until is None or record.received_at < self.until)
            and (self.text is None or self.text in record.data)
        )


class Page(msgspec.Struct, frozen=True):
    """Records with their sequences, newest first.

    `before` is where to go on, None if there is nothing older. Where the time was up
    before enough were found, `before` is set and there are fewer than `Search.limit`.
    """

    found: Sequence[tuple[int, EventRecord]]
    before: int | None
