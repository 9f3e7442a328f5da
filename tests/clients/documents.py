"""What the users of SDKs send, as it looks on the wire, and how it is compared.

The programs of each SDK turn these documents into its own models. An SDK writes
`null`, `""` or an empty table for what its user left out, and times in its own
form; apart from that nothing may be added, lost or changed.
"""

from datetime import UTC, datetime
from typing import Any

EVENT: dict[str, Any] = {
    "request": {
        "time": "2026-01-02T03:04:05.678",
        "uri": "https://api.acme.example/orders/7?expand=lines&q=Zo%C3%AB",
        "verb": "PATCH",
        "headers": {"Host": "api.acme.example", "X-Empty": "", "Accept-Language": "pt-BR, en"},
        "api_version": "1.2.3",
        "ip_address": "203.0.113.9",
        "body": {
            "name": "Zoë 🦊",
            "lines": [{"sku": "a", "n": 2}, None],
            "total": 12.5,
            "ok": True,
        },
    },
    "response": {
        "time": "2026-01-02T03:04:05.999",
        "status": 422,
        "headers": {"Content-Type": "application/json"},
        "body": ["out of stock", {"sku": "a"}],
        "ip_address": "198.51.100.3",
    },
    "session_token": "23jdf0owekfmcn4u3qypxg09w4d8ayrcdx8nu2ng]s98y18cx98q3yhwmnhcfx43f",
    "user_id": "user-7",
    "company_id": "company-3",
    "metadata": {"datacenter": "westus", "nested": {"deep": [1, 2.5, "three", False]}},
    "direction": "Outgoing",
    "weight": 4,
}

BASE64: dict[str, Any] = {
    "request": {
        "time": "2026-01-02T03:04:06.000",
        "uri": "https://api.acme.example/upload",
        "verb": "POST",
        "headers": {"Content-Type": "application/octet-stream"},
        "body": "AAECAwT//w==",
        "transfer_encoding": "base64",
    },
    "response": {
        "time": "2026-01-02T03:04:06.001",
        "status": 204,
        "headers": {"X-Request-Id": "r-1"},
    },
    "company_id": "company-3",
}

BARE: dict[str, Any] = {
    "request": {
        "time": "2026-01-02T03:04:07.000",
        "uri": "https://api.acme.example/",
        "verb": "GET",
        "headers": {"Accept": "*/*"},
    },
    "response": {
        "time": "2026-01-02T03:04:07.250",
        "status": 200,
        "headers": {"Server": "acme"},
    },
}

ACTION: dict[str, Any] = {
    "transaction_id": "a3765025-46ec-45dd-bc83-b136c8d1d257",
    "action_name": "Clicked 'Sign up' ✓",
    "session_token": "session-1",
    "user_id": "user-7",
    "company_id": "company-3",
    "metadata": {"button_label": "Get started", "sign_up_method": {"google": True, "tries": 2}},
    "request": {
        "time": "2026-01-02T03:04:08.123",
        "uri": "https://www.acme.example/sign-up",
        "ip_address": "203.0.113.10",
        "user_agent_string": "Mozilla/5.0 (X11; Linux x86_64)",
    },
}

SECOND_ACTION: dict[str, Any] = {
    "transaction_id": "a3765025-46ec-45dd-bc83-b136c8d1d258",
    "action_name": "Viewed pricing",
    "company_id": "company-3",
    "request": {
        "time": "2026-01-02T03:04:09.000",
        "uri": "https://www.acme.example/pricing",
    },
}

CAMPAIGN: dict[str, Any] = {
    "utm_source": "newsletter",
    "utm_medium": "email",
    "utm_campaign": "spring",
    "utm_term": "api",
    "utm_content": "header",
    "referrer": "https://news.example/7",
    "referring_domain": "news.example",
    "gclid": "g-1",
}

USER: dict[str, Any] = {
    "user_id": "user-7",
    "company_id": "company-3",
    "modified_time": "2026-01-02T03:04:10.000",
    "ip_address": "203.0.113.9",
    "session_token": "session-1",
    "user_agent_string": "Mozilla/5.0",
    "campaign": CAMPAIGN,
    "metadata": {"email": "zoë@acme.example", "title": "CTO", "plan": {"seats": 3}},
}

SECOND_USER: dict[str, Any] = {"user_id": "user-8", "metadata": {"email": "li@acme.example"}}

COMPANY: dict[str, Any] = {
    "company_id": "company-3",
    "company_domain": "acme.example",
    "modified_time": "2026-01-02T03:04:11.000",
    "ip_address": "203.0.113.1",
    "session_token": "session-2",
    "campaign": CAMPAIGN,
    "metadata": {"org_name": "Acme, Inc", "deal": {"value": 24000}},
}

SECOND_COMPANY: dict[str, Any] = {"company_id": "company-4", "metadata": {"employees": 40}}

SUBSCRIPTION: dict[str, Any] = {
    "subscription_id": "sub-1",
    "company_id": "company-3",
    "status": "active",
    "current_period_start": "2026-01-01T00:00:00.000",
    "current_period_end": "2026-02-01T00:00:00.000",
    "metadata": {"plan": "pro", "seats": 3},
}

SECOND_SUBSCRIPTION: dict[str, Any] = {
    "subscription_id": "sub-2",
    "company_id": "company-4",
    "status": "cancelled",
}

_TIMES = {"time", "modified_time", "current_period_start", "current_period_end"}
_MODELS = {"request", "response", "campaign"}


def instant(text: str) -> datetime:
    """A time of the wire, whatever its form; one without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def told(document: dict[str, Any]) -> dict[str, Any]:
    """What a document says: without what is unset, with its times as instants."""
    said = {name: _said(name, value) for name, value in document.items()}
    return {name: value for name, value in said.items() if value not in (None, "", {})}


def _said(name: str, value: Any) -> Any:
    if name in _MODELS and isinstance(value, dict):
        return told(value)
    return instant(value) if name in _TIMES and value else value


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """A copy of *document* without some of its members."""
    return {name: value for name, value in document.items() if name not in names}
