"""Whether a record is one of those that are to be erased."""

import json
import re
from urllib.parse import quote

from gateway.record import EventRecord, Kind
from gateway.store import Selection


def prunable(record: EventRecord, wanted: Selection, now: int) -> bool:
    """Whether `gateway.store.Store.prune` erases *record*."""
    subject = wanted.subject
    return (
        wanted.dialect in (None, record.dialect)
        and wanted.tenant in (None, record.tenant)
        and wanted.kind in (None, record.kind)
        and record.received_at < (now if wanted.until is None else min(wanted.until, now))
        and (
            subject in (None, record.subject)
            or (record.kind == Kind.REJECTED and mentions(record.data, subject or ""))
        )
    )


def mentions(data: str, subject: str) -> bool:
    """Whether a quarantined text has *subject* in it, or all of its parts between slashes."""
    return all(
        any(
            # In the text, as JSON, as JSON in a text that is JSON, and in an address.
            re.search(rf"(?<!\w){re.escape(form)}(?!\w)", data)
            for form in (part, _escaped(part), _escaped(_escaped(part)), _quoted(part))
        )
        for part in subject.split("/")
    )


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
