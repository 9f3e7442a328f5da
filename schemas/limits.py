"""Validators of marshmallow as limits of a type of msgspec.

The two do not always mean the same by the same word; what cannot be said exactly
is refused.
"""

import re
from collections.abc import Sequence
from types import NoneType
from typing import Annotated, Any, get_args

import msgspec
from marshmallow import validate

_INT64 = range(-(2**63), 2**63)


def limited(kind: Any, validators: Sequence[object]) -> Any:  # Any: type forms have no type
    """The type of those values of the type *kind* that all *validators* take.

    It may be narrower: of text or a number, limits of text leave text.

    Raises:
        TypeError: a validator has no exact counterpart.
    """
    if not validators:
        return kind
    kinds = set(get_args(kind) or (kind,))
    limits: dict[str, Any] = {}
    about: set[type] = set()
    for validator in validators:
        known = _LIMITS.get(type(validator))
        if known is None:
            raise TypeError(f"the validator {validator!r}")
        applies_to, limits_of = known
        about.add(applies_to)
        found = limits_of(validator)
        if found.keys() & limits.keys():
            raise TypeError(f"two validators {type(validator).__name__}")
        limits |= found
    if about == {str} and str in kinds:
        base: Any = str
    elif about == {int} and kinds - {NoneType} == {int}:
        base = int
    else:
        raise TypeError(f"validators of {kind}")
    try:
        narrowed: Any = Annotated[base, msgspec.Meta(**limits)]
    except ValueError as error:
        raise TypeError(str(error)) from None
    return narrowed | None if NoneType in kinds else narrowed


def _length(validator: validate.Length) -> dict[str, Any]:
    if validator.equal is not None:
        return {"min_length": validator.equal, "max_length": validator.equal}
    return _given(min_length=validator.min, max_length=validator.max)


def _range(validator: validate.Range) -> dict[str, Any]:
    for bound in (validator.min, validator.max):
        if bound is not None and (type(bound) is not int or bound not in _INT64):
            raise TypeError(f"the bound {bound!r}")
    least = "ge" if validator.min_inclusive else "gt"
    most = "le" if validator.max_inclusive else "lt"
    return _given(**{least: validator.min, most: validator.max})


def _regexp(validator: validate.Regexp) -> dict[str, Any]:
    pattern = validator.regex.pattern
    if not isinstance(pattern, str) or validator.regex.flags != re.UNICODE:
        raise TypeError(f"the pattern {pattern!r} with flags")
    # marshmallow matches from the start, msgspec searches.
    return {"pattern": rf"\A(?:{pattern})"}


def _given(**limits: Any) -> dict[str, Any]:
    return {name: limit for name, limit in limits.items() if limit is not None}


_LIMITS: dict[type, Any] = {
    validate.Length: (str, _length),
    validate.Range: (int, _range),
    validate.Regexp: (str, _regexp),
}
