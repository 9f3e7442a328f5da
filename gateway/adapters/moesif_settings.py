"""What the Moesif collector tells SDKs: their configuration and governance rules.

SDKs compare the two tags of every answer with those they have, and fetch again
when one differs; so the tags stand on every answer, and change only with the
content.
"""

import hashlib

import msgspec

from gateway.adapter import Head, Reply
from schemas import dump, load
from schemas.moesif import Application, SdkConfig

CONFIG_TAG = "x-moesif-config-etag"
RULES_TAG = "x-moesif-rules-tag"

_CAPTURE_EVERYTHING = dump(SdkConfig(), load(SdkConfig(), {}))


class SdkSettings(msgspec.Struct, frozen=True):
    """One application's configuration and rules, as JSON texts, and the tags of both."""

    config: bytes
    rules: bytes
    tags: dict[str, str]

    @classmethod
    def of(cls, application: Application | None) -> "SdkSettings":
        """From an application's settings; None: capture everything, no rules."""
        config, rules = _CAPTURE_EVERYTHING, "[]"
        if application is not None:
            config = application.config_file or config
            rules = application.rules_file or rules
            if application.sample_rate is not None:
                members = msgspec.json.decode(config) | {"sample_rate": application.sample_rate}
                config = msgspec.json.encode(members).decode()
        tags = {CONFIG_TAG: _tag(config), RULES_TAG: _tag(rules)}
        return cls(config.encode(), rules.encode(), tags)

    def answer_config(self, head: Head) -> Reply:
        """``GET /v1/config``."""
        return self._answer(head, self.config, self.tags[CONFIG_TAG])

    def answer_rules(self, head: Head) -> Reply:
        """``GET /v1/rules``."""
        return self._answer(head, self.rules, self.tags[RULES_TAG])

    def _answer(self, head: Head, body: bytes, tag: str) -> Reply:
        headers = {"ETag": f'"{tag}"', **self.tags}
        if _matches(",".join(head.headers("If-None-Match")), tag):
            return Reply(304, b"", headers)
        return Reply(200, body, headers)


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _matches(condition: str, tag: str) -> bool:
    """Whether If-None-Match names *tag*: SDKs send it bare, RFC 9110 has it in quotes."""
    given = (part.strip().removeprefix("W/").strip('"') for part in condition.split(","))
    return any(one in (tag, "*") for one in given)
