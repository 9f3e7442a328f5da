"""What can go wrong, as a closed list.

To refuse a request, any layer raises a `Refusal` with a `Reason`. Only the adapter
turns the reason into a status and words of its dialect.
"""

import enum
from collections.abc import Sequence

from schemas import Problem


class Reason(enum.Enum):
    """Why a request was refused, in the order in which requests are checked."""

    NO_SUCH_ADDRESS = "no_such_address"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CREDENTIAL_MISSING = "credential_missing"
    CREDENTIAL_UNKNOWN = "credential_unknown"
    TENANT_UNKNOWN = "tenant_unknown"
    TENANT_FORBIDDEN = "tenant_forbidden"
    DEVICE_UNKNOWN = "device_unknown"
    DEVICE_FORBIDDEN = "device_forbidden"
    LIMITED = "limited"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TOO_SLOW = "body_too_slow"
    MEDIA_TYPE_UNSUPPORTED = "media_type_unsupported"
    ENCODING_UNSUPPORTED = "encoding_unsupported"
    ENCODING_CORRUPT = "encoding_corrupt"
    EXPECTATION_UNSUPPORTED = "expectation_unsupported"
    NOT_JSON = "not_json"
    INVALID = "invalid"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether the same request can succeed later."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {Reason.LIMITED, Reason.BODY_TOO_SLOW, Reason.OVERLOADED, Reason.UNAVAILABLE, Reason.INTERNAL}
)

RETRY_AFTER = 1
"""Seconds that `Retry-After` asks for: a group commit takes milliseconds, a restart about one."""


class Refusal(Exception):
    """A request is refused. The adapter's `refused` renders the answer.

    Attributes:
        reason: one of the closed list.
        message: a sentence that tells the client what is wrong; may be empty.
        problems: the problems of the content, if the content is invalid.
        allowed: the methods that the address supports, for METHOD_NOT_ALLOWED.
        retry_after: seconds to wait, for a reason that passes.
        subject: what the client named and does not exist (an id, a credential).
        limit: how many bytes there may be, for BODY_TOO_LARGE; 0 where bytes are not the matter.
        digest: the first digits of the SHA-256 of an unknown credential, for the log.
    """

    def __init__(
        self,
        reason: Reason,
        message: str = "",
        *,
        problems: Sequence[Problem] = (),
        allowed: Sequence[str] = (),
        subject: str = "",
        retry_after: int = RETRY_AFTER,
        digest: str = "",
        limit: int = 0,
    ) -> None:
        super().__init__(message or reason.value)
        self.reason = reason
        self.message = message
        self.problems = tuple(problems)
        self.allowed = tuple(allowed)
        self.subject = subject
        self.retry_after = retry_after
        self.digest = digest
        self.limit = limit


def without_content(message: str) -> str:
    """A message of SQLite without the text that it quotes if it cannot decode it."""
    return message.partition(" with text ")[0]


class StoreError(Exception):
    """A store could not do what was asked. Trying again may help.

    `nothing_kept` says that nothing of it was done. Otherwise that is unknown: a
    commit may fail, or a wait be given up, after the records became durable.
    """

    def __init__(self, message: str, *, nothing_kept: bool = False) -> None:
        super().__init__(without_content(message))
        self.nothing_kept = nothing_kept


class Damaged(StoreError):
    """A file is not what was written. Trying again does not help."""


class ConfigError(Exception):
    """A configuration is invalid; `problems` lists everything that is wrong with it."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{file}: {p.path}: {p.message}" for p in problems))
        self.file = file
        self.problems = tuple(problems)
