"""The fields of client documents that hold times."""

from datetime import datetime
from typing import Any

from marshmallow import ValidationError, fields

from schemas import times
from schemas.fields import Shape


class Timestamp(fields.Field[int]):
    """A time as text, loaded as microseconds since 1970 UTC."""

    default_error_messages = {"invalid": "Not a valid time."}

    def __init__(
        self,
        *,
        zone_required: bool = False,
        required: bool = False,
        **kwargs: Any,  # Any: options
    ) -> None:
        if not required:
            kwargs.setdefault("load_default", None)
        super().__init__(required=required, allow_none=not required, **kwargs)
        self.zone_required = zone_required

    @property
    def shape(self) -> Shape:
        kind: Any = datetime if self.required else datetime | None
        accepts = _zoned if self.zone_required else times.is_plain
        text: Any = str if self.required else str | None
        rare = Shape(text, resolve=self._from_text, accepts=self._is_time)
        return Shape(kind, resolve=_resolved, accepts=accepts, rare=rare)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:  # Any: as marshmallow
        if value == "":
            value = None
        if value is None and self.required:
            raise self.make_error("required")
        return super().deserialize(value, *args, **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise ValidationError("Not a valid string.")
        try:
            return times.microseconds(value, zone_required=self.zone_required)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def _is_time(self, text: str) -> bool:
        if not text:
            return not self.required
        try:
            times.rare_microseconds(text, self.zone_required)
        except ValueError:
            return False
        return True

    def _from_text(self, given: Any) -> Any:  # Any: text, microseconds or None
        if not isinstance(given, str):
            return given
        return times.rare_microseconds(given, self.zone_required) if given else None


def _zoned(moment: datetime) -> bool:
    return moment.tzinfo is not None and times.is_plain(moment)


def _resolved(given: Any) -> Any:  # Any: a datetime, microseconds or None
    return times.since_epoch(given) if isinstance(given, datetime) else given


class LenientTimestamp(Timestamp):
    """An optional time; an invalid one counts as "not set"."""

    @property
    def shape(self) -> Shape:
        return Shape(Any, resolve=self._time_or_none)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        return self._time_or_none(value)

    def _time_or_none(self, value: Any) -> Any:
        if isinstance(value, str):
            try:
                return _Loaded(times.microseconds(value, zone_required=self.zone_required))
            except ValueError:
                return None
        return value if isinstance(value, _Loaded) else None


class _Loaded(int):
    """Microseconds that a field has loaded. A plain number may have stood in a document."""
