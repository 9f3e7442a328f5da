"""Fast decoders, derived from the schemas.

A schema is the one declaration of a document. From it a typed decoder is made at
import: what the decoder accepts, the schema accepts with the same values. What the
decoder refuses goes to the schema, which decides and explains. A schema that says
what no decoder can be derived from is an error at import.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

from schemas import jsontext
from schemas.base import Invalid, Lenient, Problem, load
from schemas.derivation import Derived, derive

T = TypeVar("T")

_MAX_BRACKETS = 100_000


class Decoder(Generic[T]):
    """Decodes documents of one schema to frozen structs.

    A struct has an attribute for each field of the schema, named as in the schema.
    `T` is what its user knows of them: a Protocol with some of those attributes.
    """

    decode: Callable[[bytes], T | None]
    """The document of some text in UTF-8 if it is plainly right; None leaves it to `explain`."""

    def __init__(self, schema: Lenient, *, not_finite: bool = False, finite: bool = False) -> None:
        """Decode documents of *schema*.

        With *not_finite*, bare ``NaN`` and infinities are read, and kept as JSON
        strings. With *finite*, a number too large for a double is refused.

        Raises:
            TypeError: the schema says what no decoder can be derived from.
        """
        self.schema = schema
        self._derived = derive(schema)
        self._not_finite = not_finite
        self._finite = finite
        self.decode = _fast([self._derived, derive(schema, rare=True)], finite)

    def explain(self, raw: bytes) -> tuple[T, str]:
        """Check a document by the schema; return it, and its text as it is to be kept.

        The text is the one that came, except for numbers that JSON has no word for.

        Raises:
            Unreadable: not JSON, or nested too deeply.
            Invalid: the schema finds faults, or there are too many values to check.
        """
        if jsontext.values_exceed(raw, jsontext.MAX_VALUES):
            raise Invalid((Problem("", jsontext.TOO_MANY_VALUES),))
        odd: list[str] = []

        def constant(name: str) -> float:
            odd.append(name)
            return float(name)

        document = jsontext.loads(
            raw, constants=constant if self._not_finite else None, finite=self._finite
        )
        decoded = cast(T, self._derived.of(load(self.schema, document)))
        return decoded, jsontext.dumps(document) if odd else raw.decode()


def _fast(derived: Sequence[Derived], finite: bool) -> Callable[[bytes], Any]:
    usual, rare = [_typed(one) for one in derived]

    def decode(raw: bytes) -> Any:
        # Text fields may refuse NUL, and the decoder cannot tell them from others.
        # (One byte is found much sooner than six, and `find` asks first what `in` asks last:
        # whether it was given bytes.)
        if raw.find(b"\\") >= 0 and b"\\u0000" in raw:
            return None
        # Few brackets settle the depth of nearly every event. Very many take long to follow.
        brackets = raw.count(b"{")
        # To find out that there is none is much cheaper than to count.
        if raw.find(b"[") >= 0:
            brackets += raw.count(b"[")
        if brackets > jsontext.MAX_DEPTH and (
            brackets > _MAX_BRACKETS or jsontext.depth_exceeds(raw)
        ):
            return None
        # Nor does it look at numbers in members that nothing names.
        if finite and jsontext.may_overflow(raw):
            return None
        try:
            return usual(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        try:
            return rare(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    return decode


def _typed(derived: Derived) -> Callable[[bytes], Any]:
    typed: Callable[[bytes], Any] = msgspec.json.Decoder(derived.struct).decode
    accepts = derived.accepts
    if accepts is None:
        return typed

    def decode(raw: bytes) -> Any:
        document = typed(raw)
        return document if accepts(document) else None

    return decode
