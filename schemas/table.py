"""Tables of the configuration: typed frozen objects, whose options are declared once.

A table is a class. Each attribute is an option: the annotation is the type that
the gateway reads, and the right side is the marshmallow field that checks what
the operator wrote. mypy holds the two together, because `option` returns the
type of its field. The schema is derived from the class:

    class Server(Table):
        listen: str = option(Address(), "Where clients connect.", default="127.0.0.1:8080")

    load(schema_of(Server)(), {"listen": "[::]:80"}).listen
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform, overload

from marshmallow import ValidationError, fields, missing, post_load, validate

from schemas.base import Problem, Strict

T = TypeVar("T")
TableT = TypeVar("TableT", bound="Table")

_FIELD = "marshmallow field"


@overload
def option(field: fields.Field[T], help_text: str) -> T: ...
@overload
def option(field: fields.Field[T], help_text: str, *, default: None) -> T | None: ...
@overload
def option(field: fields.Field[T], help_text: str, *, default: T) -> T: ...
def option(field: fields.Field[Any], help_text: str, *, default: Any = missing) -> Any:
    """Declare an option that *field* checks; *help_text* tells the operator what it does.

    Without *default* the option is required. With None it may be absent.

    Raises:
        ValidationError: *field* does not accept the default.
    """
    if default is not missing and default is not None:
        field.deserialize(default)
    return _declare(field, help_text, default, lambda: default)


@overload
def items(of: fields.Field[T], help_text: str) -> tuple[T, ...]: ...
@overload
def items(of: fields.Field[T], help_text: str, *, default: None) -> tuple[T, ...] | None: ...
@overload
def items(of: fields.Field[T], help_text: str, *, default: tuple[T, ...]) -> tuple[T, ...]: ...
def items(of: fields.Field[Any], help_text: str, *, default: Any = missing) -> Any:
    """Declare an option that is an array; *of* checks each element.

    Without *default* the option is required, and needs at least one element.
    """
    rules = [validate.Length(min=1, error="Must not be empty.")] if default is missing else []
    return _declare(_Tuple(of, validate=rules), help_text, default, lambda: default)


def mapping(help_text: str) -> Mapping[str, str]:
    """Declare an option that is a table of texts by names of the operator's choice."""
    field = _FrozenDict(keys=fields.String(), values=fields.String())
    declared: Mapping[str, str] = _declare(field, help_text, {}, lambda: MappingProxyType({}))
    return declared


def table(kind: type[TableT], help_text: str) -> TableT:
    """Declare a table in a table; every option of *kind* has a default."""
    declared: TableT = _declare(fields.Nested(schema_of(kind)), help_text, {}, kind)
    return declared


def tables(kind: type[TableT], help_text: str, *, unique: str | None = None) -> tuple[TableT, ...]:
    """Declare an array of tables, no two of which have the same value of the option *unique*."""
    rules = [] if unique is None else [_no_duplicates(unique)]
    field = _Tuple(fields.Nested(schema_of(kind)), validate=rules)
    declared: tuple[TableT, ...] = _declare(field, help_text, (), tuple)
    return declared


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(option, items, mapping, table, tables),
)
class Table:
    """A table of the configuration; each subclass is a frozen dataclass.

    `written` is False for what is not in the file at this place, but taken from another table.
    """

    written: ClassVar[bool] = True
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(frozen=True, kw_only=True, repr=False)(cls)

    def find_problems(self) -> Iterator[Problem]:
        """Problems between options; each of them is good by itself."""
        return iter(())

    def find_doubts(self) -> Iterator[Problem]:
        """What is allowed, and probably not what the operator means."""
        return iter(())

    def completed(self, others: "Mapping[str, Table]") -> Self:
        """This table with what it takes from *others*, which are all tables by name."""
        return self

    def options(
        self,
    ) -> Iterator[tuple[str, fields.Field[Any], Any]]:  # Any: whatever the fields make
        """The name of each option, the field that checks it, and its value."""
        for one in dataclasses.fields(self):
            yield one.name, one.metadata[_FIELD], getattr(self, one.name)

    def __repr__(self) -> str:
        # An option may hold a secret, whatever it is for, and a repr ends in a log.
        names = ", ".join(field.name for field in dataclasses.fields(self))
        return f"<{type(self).__name__}: {names}>"


def schema_of(kind: type[Table]) -> type[Strict]:
    """The schema that checks a table and returns it as a *kind*."""
    declared = {one.name: one.metadata[_FIELD] for one in dataclasses.fields(kind)}
    made = _TableSchema.from_dict(declared, name=kind.__name__)
    assert issubclass(made, _TableSchema)
    made.kind = kind
    return made


class _TableSchema(Strict):
    kind: ClassVar[type[Table]]

    @post_load
    def _freeze(self, loaded: dict[str, Any], **_: Any) -> Table:
        made = self.kind(**loaded)
        messages: dict[str, list[str]] = {}
        for problem in made.find_problems():
            messages.setdefault(problem.path or "_schema", []).append(problem.message)
        if messages:
            raise ValidationError(messages)
        return made


class _Tuple(fields.List[Any]):
    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(*args, **kwargs))


class _FrozenDict(fields.Dict):
    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return MappingProxyType(super()._deserialize(*args, **kwargs))  # type: ignore[no-untyped-call]


def _declare(
    field: fields.Field[Any], help_text: str, default: Any, make: Callable[[], Any]
) -> Any:
    """The declaration of an option; *make* makes its default."""
    field.metadata = {**field.metadata, "help": help_text}
    metadata = {_FIELD: field}
    if default is missing:
        field.required = True
        return dataclasses.field(metadata=metadata)
    field.load_default = make
    field.allow_none = default is None
    return dataclasses.field(default_factory=make, metadata=metadata)


def _no_duplicates(name: str) -> Callable[[tuple[Table, ...]], None]:
    def check(found: tuple[Table, ...]) -> None:
        seen: set[object] = set()
        duplicates: dict[int, dict[str, list[str]]] = {}
        for at, one in enumerate(found):
            value = getattr(one, name)
            if value in seen:
                duplicates[at] = {name: [f"Duplicate '{value}'."]}
            seen.add(value)
        if duplicates:
            raise ValidationError(duplicates)

    return check
