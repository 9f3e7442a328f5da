"""Uses `moesifapi` as its users do: one call for each line of JSON, `[method, argument]`."""

import json
import os

from lines import heard, say
from moesifapi.models import (
    CompanyModel,
    EventModel,
    SubscriptionModel,
    UserModel,
)
from moesifapi.moesif_api_client import Configuration, MoesifAPIClient

Configuration.BASE_URI = os.environ["GATEWAY_URL"]
client = MoesifAPIClient(os.environ["APPLICATION_ID"])

MODELS = {
    "create_event": EventModel,
    "update_user": UserModel,
    "update_company": CompanyModel,
    "update_subscription": SubscriptionModel,
    "create_events_batch": EventModel,
    "update_users_batch": UserModel,
    "update_companies_batch": CompanyModel,
    "update_subscriptions_batch": SubscriptionModel,
}


def call(method, argument):
    if method == "get_health_probe":
        return client.health.get_health_probe().to_dictionary()
    if method not in MODELS:
        answer = getattr(client.api, method)()
        return {"body": json.loads(answer.raw_body), "headers": dict(answer.headers)}
    make = MODELS[method].from_dictionary
    model = [make(one) for one in argument] if isinstance(argument, list) else make(argument)
    answer = getattr(client.api, method)(model)
    return dict(answer) if answer else None


for method, argument in heard():
    say(call(method, argument))
