"""From a schema to a typed struct: what may be derived, and what is refused.

Everything that a schema can say is either derived so that the struct takes no
document that the schema refuses, and gives the same values, or it is a TypeError.
So nothing here goes by default: a field's class, each of its options and each of
its validators is known, or refused.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from types import NoneType
from typing import Any, TypeAlias, get_args

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing

from schemas.base import Lenient, is_set, key_of_field
from schemas.fields import MAX_CHECKED, Properties, Shape
from schemas.limits import limited

Test: TypeAlias = Callable[[Any], bool]  # Any: a struct made at import, or any JSON value

_REFUSED_OPTIONS = ("pre_load", "post_load", "dump_only", "attribute")
_CONSTANTS = (NoneType, str, int, float, bool)


class Derived(msgspec.Struct, frozen=True):
    """What was derived from one schema.

    A `struct` has an attribute for each of the schema's fields. `accepts` tells
    whether a decoded one is right where its types cannot say all; None: they can.
    """

    struct: type[msgspec.Struct]
    accepts: Test | None
    members: Mapping[str, str]
    nested: "Mapping[str, Derived]"

    def of(self, loaded: Mapping[str, object]) -> msgspec.Struct:
        """The struct of what the schema loaded."""
        values: dict[str, object] = {}
        for name, value in loaded.items():
            inner = self.nested.get(name)
            if inner is not None and isinstance(value, Mapping):
                values[self.members[name]] = inner.of(value)
            else:
                values[self.members[name]] = value
        return self.struct(**values)


def derive(schema: Schema, within: tuple[type[Schema], ...] = (), *, rare: bool = False) -> Derived:
    """Derive a struct from *schema*, which stands within schemas of the classes *within*.

    With *rare*, the struct is for values that the usual one refuses, see `Shape.rare`.

    Raises:
        TypeError: the schema says what no struct can be derived from.
    """
    name = type(schema).__name__
    if not isinstance(schema, Lenient):
        raise TypeError(f"{name}: a decoder is derived from a Lenient schema only.")
    if type(schema) in within:
        raise TypeError(f"{name}: a decoder cannot be derived from a schema within itself.")
    if schema.many or schema.partial or schema.unknown != EXCLUDE:
        raise TypeError(f"{name}: a decoder knows neither many, nor partial, nor unknown.")
    builder = _Builder(schema, (*within, type(schema)), rare)
    for field in schema.fields.values():
        builder.add(field)
    return builder.finished()


class _Builder:
    """A struct in the making: one member for a field, and one more for each other spelling."""

    def __init__(self, schema: Lenient, within: tuple[type[Schema], ...], rare: bool) -> None:
        self._schema = schema
        self._within = within
        self._rare = rare
        self._members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        self._names: set[str] = set()
        self._keys: dict[str, str] = {}
        self._of_fields: dict[str, str] = {}
        self._properties: dict[str, property] = {}
        self._nested: dict[str, Derived] = {}
        self._tests: list[Test] = []

    def add(self, field: fields.Field[Any]) -> None:
        name, key, aliases = str(field.name), key_of_field(field), _aliases(field)
        shape = self._shape(field)
        default = _default(field)
        resolved = bool(aliases) or shape.resolve is not None
        if resolved and default is not None:
            raise _underivable(field, f"the default {default!r}")
        member = f"given_{name}" if resolved else name
        if resolved and name in self._names:
            raise _underivable(field, f"two members called {name!r}")
        self._of_fields[name] = member
        if field.required and not aliases:
            self._member(field, member, key, shape.type)
        else:
            self._member(field, member, key, shape.type, default)
        spellings = [member]
        for at, alias in enumerate(aliases):
            spellings.append(f"alias{at}_{name}")
            self._member(field, spellings[-1], alias, shape.type | None, None)
        if shape.accepts is not None:
            self._tests += [_unless_none(spelling, shape.accepts) for spelling in spellings]
        if resolved:
            value = _value(spellings, shape.resolve)
            self._properties[name] = property(value)
            self._names.add(name)
            if field.required and (aliases or shape.type is Any):
                self._tests.append(lambda document: value(document) is not None)

    def _member(self, field: fields.Field[Any], name: str, key: str, *rest: Any) -> None:
        if name in self._names or key in self._keys.values():
            raise _underivable(field, f"two members called {key!r}")
        if not name.isidentifier() or name.startswith("__"):
            raise _underivable(field, f"the name {name!r}")
        self._names.add(name)
        self._members.append((name, *rest))
        self._keys[name] = key

    def _shape(self, field: fields.Field[Any]) -> Shape:
        if type(field) is not fields.Nested:
            shape = shape_of(field)
            return shape.rare if self._rare and shape.rare is not None else shape
        _check_options(field)
        if field.many or field.unknown not in (None, EXCLUDE) or field.validators:
            raise _underivable(field, "many, unknown or validators of a nested schema")
        if _default(field) is not None:
            raise _underivable(field, "the default of a nested schema")
        inner = derive(field.schema, self._within, rare=self._rare)
        self._nested[str(field.name)] = inner
        kind: Any = inner.struct | None if field.allow_none else inner.struct
        return Shape(kind, accepts=inner.accepts)

    def finished(self) -> Derived:
        name, any_of = type(self._schema).__name__, self._schema.any_of
        try:
            struct = msgspec.defstruct(
                name,
                self._members,
                namespace=self._properties,
                rename=self._keys,
                kw_only=True,
                frozen=True,
                gc=False,
            )
            msgspec.json.Decoder(struct)
        except (ValueError, OverflowError) as error:
            raise TypeError(f"{name}: no decoder can be derived: {error}") from error
        if any_of:
            names = any_of
            self._tests.append(lambda one: any(is_set(getattr(one, name)) for name in names))
        return Derived(struct, _all_of(self._tests), self._of_fields, self._nested)


def shape_of(field: fields.Field[Any]) -> Shape:  # Any: a field of whatever it loads
    """What the decoder takes for *field*, its validators included.

    Raises:
        TypeError: the field says what no type can be derived from.
    """
    _check_options(field)
    kind = type(field)
    if kind is fields.String or (kind is fields.Integer and field.strict):  # type: ignore[attr-defined]
        plain: Any = str if kind is fields.String else int
        shape = Shape(plain | None if field.allow_none else plain)
    elif kind is Properties:
        shape = _shape_of_properties(field)  # type: ignore[arg-type]
    elif "shape" in vars(kind):
        shape = field.shape  # type: ignore[attr-defined]
    else:
        raise _underivable(field, kind.__name__)
    takes_null = shape.type is Any or NoneType in get_args(shape.type)
    if takes_null and not field.allow_none:
        raise _underivable(field, f"{kind.__name__} without null")
    try:
        return msgspec.structs.replace(shape, type=limited(shape.type, field.validators))
    except TypeError as error:
        raise _underivable(field, str(error)) from None


def _shape_of_properties(field: Properties) -> Shape:
    """A section of single values and arrays. The field gives what stood there, unresolved."""
    if field.validators:
        raise _underivable(field, "validators of a section")
    one = shape_of(field.values)
    accepts, kind = one.accepts, one.type
    if datetime in (kind, *get_args(kind)):
        kind, accepts = str if kind is datetime else str | None, _loads(field.values)
    section: Any = dict[str, kind | list[kind]]  # type: ignore[valid-type]
    return Shape(section, accepts=accepts and _each(accepts))


def _loads(field: fields.Field[Any]) -> Test:
    def test(value: object) -> bool:
        try:
            field.deserialize(value)
        except ValidationError:
            return False
        return True

    return test


def _each(accepts: Test) -> Test:
    def test(section: Mapping[str, Any]) -> bool:
        count = len(section)
        if count > MAX_CHECKED:
            return False
        for given in section.values():
            if isinstance(given, list):
                count += len(given)
        if count > MAX_CHECKED:
            return False
        for given in section.values():
            for one in given if isinstance(given, list) else (given,):
                if one is not None and not accepts(one):
                    return False
        return True

    return test


def _check_options(field: fields.Field[Any]) -> None:
    for option in _REFUSED_OPTIONS:
        if getattr(field, option, None):
            raise _underivable(field, option)


def _aliases(field: fields.Field[Any]) -> Sequence[str]:
    aliases: Any = field.metadata.get("aliases", ())
    if isinstance(aliases, str) or not all(isinstance(alias, str) for alias in aliases):
        raise _underivable(field, f"the aliases {aliases!r}")
    return tuple(aliases)


def _default(field: fields.Field[Any]) -> Any:
    if field.load_default is missing:
        return None
    if type(field.load_default) not in _CONSTANTS:
        raise _underivable(field, f"the default {field.load_default!r}")
    return field.load_default


def _underivable(field: fields.Field[Any], why: str) -> TypeError:
    return TypeError(f"{field.name}: no decoder can be derived from {why}.")


def _value(members: Sequence[str], resolve: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """What reads a field: the first of its spellings that is set, as the field makes it."""
    first, *others = [attrgetter(member) for member in members]

    def value(document: Any) -> Any:
        given = first(document)
        if given is None or given == "":
            for other in others:
                if is_set(other(document)):
                    given = other(document)
                    break
        return given if resolve is None else resolve(given)

    return value


def _unless_none(member: str, accepts: Test) -> Test:
    read = attrgetter(member)

    def test(document: Any) -> bool:
        value = read(document)
        return value is None or accepts(value)

    return test


def _all_of(tests: Sequence[Test]) -> Test | None:
    if not tests:
        return None
    first, rest = tests[0], _all_of(tests[1:])
    # A chain of calls costs half of a loop over so few.
    return first if rest is None else lambda document: first(document) and rest(document)
