"""Documents of the Moesif collector API.

Shapes follow the collector's public pages for events and actions, widened to
what its SDKs were seen to send: camelCase spellings, ``null`` and ``""`` for
"not set", header values of any sort. Members that the gateway does not
interpret are not named here; they stay in the event's text.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from marshmallow import INCLUDE, fields, validate

from schemas.base import Lenient, Problem
from schemas.fields import Name, Object, RequiredText, Text
from schemas.options import (
    Choice,
    Count,
    FileOf,
    Flag,
    OnInvalid,
    Secret,
    TenantName,
    TenantTable,
    json_text,
)
from schemas.table import Table, items, option, tables
from schemas.timestamps import LenientTimestamp, Timestamp


def _also(*spellings: str) -> dict[str, Any]:
    return {"aliases": spellings}


class _Message(Lenient):
    ip_address = Text(metadata=_also("ipAddress"))
    headers = Object()
    transfer_encoding = Text(metadata=_also("transferEncoding"))


class Request(_Message):
    """The request of a logged API call."""

    time = Timestamp(required=True)
    uri = RequiredText()
    verb = RequiredText()
    api_version = Text(metadata=_also("apiVersion"))


class Response(_Message):
    """The response of a logged API call."""

    time = Timestamp(required=True)
    status = fields.Integer(required=True, strict=True)


class _Attributed(Lenient):
    """Who it was about, and the id that makes a retry the same event."""

    user_id = Name(metadata=_also("userId"))
    company_id = Name(metadata=_also("companyId"))
    subscription_id = Text(metadata=_also("subscriptionId"))
    session_token = Text(metadata=_also("sessionToken"))
    transaction_id = Text(metadata=_also("transactionId"))
    metadata = Object()


class Event(_Attributed):
    """A logged API call: ``POST /v1/events``."""

    request = fields.Nested(Request, required=True)
    response = fields.Nested(Response, load_default=None, allow_none=True)
    direction = Text()


class ActionRequest(Lenient):
    """Where an action happened; its time defaults to the time of receipt."""

    time = Timestamp()
    uri = Text()
    ip_address = Text(metadata=_also("ipAddress"))
    user_agent_string = Text(metadata=_also("userAgentString"))


class Action(_Attributed):
    """Something a user did: ``POST /v1/actions``."""

    action_name = RequiredText(metadata=_also("actionName"))
    request = fields.Nested(ActionRequest, load_default=None, allow_none=True)


class _Profile(Lenient):
    modified_time = LenientTimestamp(metadata=_also("modifiedTime"))
    metadata = Object()


class User(_Profile):
    """An update of a user: ``POST /v1/users``. A visitor may have no more than an anonymous id."""

    user_id = Name(metadata=_also("userId"))
    anonymous_id = Name(metadata=_also("anonymousId"))
    company_id = Name(metadata=_also("companyId"))

    any_of = ("user_id", "anonymous_id")


class Company(_Profile):
    """An update of a company: ``POST /v1/companies``."""

    company_id = Name(metadata=_also("companyId"))

    any_of = ("company_id",)


class Subscription(_Profile):
    """An update of a subscription: ``POST /v1/subscriptions``."""

    subscription_id = Name(metadata=_also("subscriptionId"))
    company_id = Name(metadata=_also("companyId"))

    any_of = ("subscription_id",)


def _rates() -> fields.Dict:
    return fields.Dict(keys=fields.String(), values=fields.Integer(strict=True), load_default=dict)


class SdkConfig(Lenient):
    """What ``GET /v1/config`` answers. Typed SDKs want every member, and rates as integers."""

    class Meta:
        unknown = INCLUDE

    org_id = fields.String(load_default="gateway")
    app_id = fields.String(load_default="gateway")
    sample_rate = fields.Integer(strict=True, load_default=100, validate=validate.Range(0, 100))
    block_bot_traffic = Flag(load_default=False)
    user_sample_rate = _rates()
    company_sample_rate = _rates()
    user_rules = fields.Dict(load_default=dict)
    company_rules = fields.Dict(load_default=dict)
    ip_addresses_blocked_by_name = fields.Dict(load_default=dict)
    regex_config = fields.List(fields.Dict(), load_default=list)
    billing_config_jsons = fields.Dict(load_default=dict)


class Rule(Lenient):
    """An element of what ``GET /v1/rules`` answers. SDKs take these members without asking."""

    class Meta:
        unknown = INCLUDE

    id = fields.String(required=True, data_key="_id")
    type = fields.String(required=True)
    block = Flag(load_default=False)
    applied_to_unidentified = Flag(load_default=False)
    regex_config = fields.List(fields.Dict(), load_default=list)
    response = fields.Dict(load_default=dict)


_SILENT = "SDKs send no API calls of this application."


class Application(TenantTable):
    """An application whose SDKs may report."""

    tenant: str = option(TenantName(), "The name of the application in records.")
    ids: tuple[str, ...] = items(
        Secret(),
        "What X-Moesif-Application-Id may be; plain or sha256:<hex>. "
        "SDKs require 50 characters or more.",
    )
    sample_rate: int | None = option(
        Count(0, 100),
        "Percentage of events that SDKs send; absent: 100.",
        default=None,
    )
    config_file: str | None = option(
        FileOf(json_text(SdkConfig())),
        "A JSON file with the answer to GET /v1/config; missing members have defaults.",
        default=None,
    )
    rules_file: str | None = option(
        FileOf(json_text(Rule(many=True))),
        "A JSON file with the answer to GET /v1/rules, an array; absent: [].",
        default=None,
    )

    def find_doubts(self) -> Iterator[Problem]:
        """With a rate of 0 the client is silent, and nobody sees an error."""
        if self.sample_rate == 0:
            yield Problem("sample_rate", _SILENT)
        if self.sample_rate is None and self.config_file is not None:
            document = msgspec.json.decode(self.config_file)
            if document["sample_rate"] == 0:
                yield Problem("config_file", f"sample_rate is 0. {_SILENT}")


class Options(Table):
    """The table ``[moesif]``."""

    max_body: int = option(
        Count(1), "Largest body after decompression, in bytes.", default=52_428_800
    )
    on_invalid: OnInvalid | None = option(
        Choice(OnInvalid), "As in [ingest], for this dialect alone.", default=None
    )
    deduplicate_identical: bool = option(
        Flag(), "Store identical events without transaction_id once.", default=False
    )
    applications: tuple[Application, ...] = tables(Application, "Who may report.", unique="tenant")
