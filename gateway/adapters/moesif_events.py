"""The documents of Moesif's SDKs, and how the attributes of a record follow from each.

The protocols name what the gateway reads of a document; the decoders are derived
from the schemas in `schemas.moesif`.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from schemas import moesif
from schemas.decoders import Decoder

EventT = TypeVar("EventT")


class Request(Protocol):
    """The request of an API call."""

    time: int
    verb: str


class ActionRequest(Protocol):
    """The request in which an action happened."""

    time: int | None


class Attributed(Protocol):
    """What API calls and actions say of who made them."""

    user_id: str | None
    company_id: str | None
    transaction_id: str | None


class ApiCall(Attributed, Protocol):
    """``POST /v1/events``."""

    request: Request


class Action(Attributed, Protocol):
    """``POST /v1/actions``."""

    action_name: str
    request: ActionRequest | None


class User(Protocol):
    """``POST /v1/users``."""

    user_id: str | None
    anonymous_id: str | None
    modified_time: int | None


class Company(Protocol):
    """``POST /v1/companies``."""

    company_id: str | None
    modified_time: int | None


class Subscription(Protocol):
    """``POST /v1/subscriptions``."""

    subscription_id: str | None
    modified_time: int | None


class EventType(msgspec.Struct, Generic[EventT], frozen=True):
    """A type of Moesif document: its kind, its decoder, and how to get a record's attributes.

    `type` is None where the kind says it. `time` is in microseconds since 1970 UTC.
    """

    kind: str
    decoder: Decoder[EventT]
    subject: Callable[[EventT], str | None]
    time: Callable[[EventT], int | None]
    type: Callable[[EventT], str] | None = None


def _actor(event: Attributed) -> str | None:
    return event.user_id or event.company_id or None


EVENT = EventType(
    "api_call",
    Decoder[ApiCall](moesif.Event()),
    _actor,
    lambda event: event.request.time,
    lambda event: event.request.verb,
)
ACTION = EventType(
    "action",
    Decoder[Action](moesif.Action()),
    _actor,
    lambda action: action.request.time if action.request else None,
    lambda action: action.action_name,
)
USER = EventType(
    "user",
    Decoder[User](moesif.User()),
    lambda user: user.user_id or user.anonymous_id,
    lambda user: user.modified_time,
)
COMPANY = EventType(
    "company",
    Decoder[Company](moesif.Company()),
    lambda company: company.company_id,
    lambda company: company.modified_time,
)
SUBSCRIPTION = EventType(
    "subscription",
    Decoder[Subscription](moesif.Subscription()),
    lambda subscription: subscription.subscription_id,
    lambda subscription: subscription.modified_time,
)

EVENT_TYPES: dict[str, EventType[Any]] = {  # Any: each has events of its own
    "/v1/events": EVENT,
    "/v1/actions": ACTION,
    "/v1/users": USER,
    "/v1/companies": COMPANY,
    "/v1/subscriptions": SUBSCRIPTION,
    "/moesifapi/events": EVENT,
}
"""The types of documents by the address that takes them."""
