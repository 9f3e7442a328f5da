"""The decoders accept only what the schemas accept, with the same values."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError, fields, validates_schema

from schemas import Invalid, Lenient, Unreadable, device, jsontext, logspace, moesif
from schemas.decoders import Decoder
from tests.schemas.documents import documents, mutated, written

CHECKERS = {
    "moesif.Event": Decoder(moesif.Event()),
    "moesif.Action": Decoder(moesif.Action()),
    "moesif.User": Decoder(moesif.User()),
    "moesif.Company": Decoder(moesif.Company()),
    "moesif.Subscription": Decoder(moesif.Subscription()),
    "logspace.Event": Decoder(logspace.Event(), not_finite=True),
    "device.Event": Decoder(device.Event(), finite=True),
}
EVERY = pytest.mark.parametrize("name", sorted(CHECKERS))
FAST = pytest.mark.parametrize(
    "name", ["moesif.Event", "moesif.Action", "logspace.Event", "device.Event"]
)
WITHIN = settings(max_examples=80, suppress_health_check=list(HealthCheck))


def plain(value, number=lambda given: given):
    """Structs as dicts, raw JSON as what it says, so that two readings can be compared."""
    if isinstance(value, msgspec.Struct):
        return {
            name: plain(getattr(value, name), _real if name in REALS else number)
            for name in value.__struct_fields__
        }
    if isinstance(value, msgspec.Raw):
        return jsontext.loads(bytes(value))
    if isinstance(value, dict):
        return {name: plain(one, number) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one, number) for one in value]
    return value if isinstance(value, bool | str | None) else number(value)


REALS = ("double_properties", "float_properties")
"""In these a number may be written without a point: 4 and 4.0 are one value."""


def _real(number):
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def assert_both_ways_agree(checker, text):
    raw = jsontext.require_utf8(text.encode())
    fast = checker.decode(raw)
    if fast is None:
        return
    slow, kept = checker.explain(raw)
    assert text == kept
    assert repr(plain(slow)) == repr(plain(fast))


@EVERY
@WITHIN
@given(data=st.data())
def test_a_document_that_the_decoder_accepts_has_the_same_values_in_the_schema(name, data):
    checker = CHECKERS[name]
    assert_both_ways_agree(checker, written(data.draw(documents(checker.schema))))


@EVERY
@WITHIN
@given(data=st.data())
def test_the_decoder_accepts_a_damaged_document_only_if_the_schema_does(name, data):
    checker = CHECKERS[name]
    assert_both_ways_agree(checker, data.draw(mutated(checker.schema)))


@FAST
def test_the_decoder_accepts_a_plain_document(name):
    assert CHECKERS[name].decode(PLAIN[name]) is not None


PLAIN = {
    "moesif.Event": b'{"request":{"time":"2016-08-16T09:21:56.998Z","uri":"/","verb":"GET"}}',
    "moesif.Action": b'{"action_name":"Clicked","request":{"time":"2024-03-01T04:45:42.914"}}',
    "logspace.Event": b'{"id":"1","system":"s","agent-id":"a","timestamp":"2015-05-18T14:07:00Z",'
    b'"double-properties":{"load":[0.5,1]},"integer-properties":{"cpus":4}}',
    "device.Event": b'{"typeId":"0045","description":"","appId":"a","severity":3,'
    b'"data":{"version":2.5},"timestamp":1440014969567}',
}


@FAST
@pytest.mark.parametrize(
    ("unknown", "why"),
    [(b"[" * 64 + b"]" * 64, "64 levels"), (b"NaN", "NaN"), (b"01", "Not JSON")],
)
def test_unknown_members_are_checked_to_be_json(name, unknown, why):
    raw = PLAIN[name][:-1] + b',"unknown":' + unknown + b"}"
    if name == "logspace.Event" and why == "NaN":
        assert '"unknown":"NaN"' in CHECKERS[name].check(raw)[1]
        return
    with pytest.raises(Unreadable, match=why):
        CHECKERS[name].check(raw)


@FAST
def test_63_levels_in_a_member_are_accepted(name):
    raw = PLAIN[name][:-1] + b',"unknown":' + b"[" * 63 + b"]" * 63 + b"}"

    assert raw.decode() == CHECKERS[name].check(raw)[1]


@pytest.mark.parametrize("name", ["moesif.Event", "logspace.Event"])
@pytest.mark.parametrize("number", [b"1e400", b"7" * 5000, b"1208925819614629174706176"])
def test_a_number_of_any_size_keeps_its_text(name, number):
    raw = PLAIN[name][:-1] + b',"unknown":' + number + b"}"

    assert raw.decode() == CHECKERS[name].check(raw)[1]


@pytest.mark.parametrize("number", [b"1e400", b"-1E+309", b"7" * 5000])
def test_a_number_beyond_a_double_is_refused_anywhere_in_a_device_event(number):
    with pytest.raises(Unreadable, match="too large"):
        CHECKERS["device.Event"].check(PLAIN["device.Event"][:-1] + b',"unknown":' + number + b"}")


def test_nan_and_infinities_are_stored_as_strings():
    raw = PLAIN["logspace.Event"].replace(b"[0.5,1]", b'[NaN,-Infinity,"Infinity",9.7E8]')
    event, text = CHECKERS["logspace.Event"].check(raw)

    assert '"load":["NaN","-Infinity","Infinity",970000000.0]' in text
    assert "1" == event.id


@pytest.mark.parametrize("name", ["moesif.Event", "moesif.Action", "logspace.Event"])
def test_a_nul_in_a_type_or_subject_is_invalid(name):
    raw = PLAIN[name]
    for text in (b'"GET"', b'"Clicked"', b'"s"'):
        raw = raw.replace(text, text[:-1] + b'\\u0000"')
    with pytest.raises(Invalid, match="NUL"):
        CHECKERS[name].check(raw)


class Ruled(Lenient):
    """A document with a rule over several of its members."""

    a = fields.String()
    b = fields.String()

    @validates_schema
    def _differ(self, data, **_):
        if data["a"] == data["b"]:
            raise ValidationError("a and b are equal.")


def test_the_decoder_never_skips_a_rule_over_several_members():
    with pytest.raises(Invalid, match="equal"):
        Decoder(Ruled()).check(b'{"a":"1","b":"1"}')


class Odd(Lenient):
    """A document with a field that no decoder can be derived from."""

    url = fields.Url()
    when = fields.DateTime()


def test_a_field_without_a_derivable_decoder_is_an_error_at_import():
    with pytest.raises(TypeError, match=r"url|when"):
        Decoder(Odd())
