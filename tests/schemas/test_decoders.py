"""The decoders accept only what the schemas accept, with the same values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Invalid, Unreadable
from tests.schemas.decoding import assert_fast_as_by_schema, every_decoder, read
from tests.schemas.documents import documents, mutated, written

DECODERS = every_decoder()
EVERY = pytest.mark.parametrize("name", sorted(DECODERS))


def test_every_dialect_has_a_decoder_among_those_that_are_found():
    dialects = {name.partition(".")[0] for name in DECODERS}

    assert {"moesif", "logspace", "device", "tiny"} <= dialects


@EVERY
@given(data=st.data())
def test_a_document_that_is_decoded_fast_is_accepted_by_its_schema_with_the_same_values(name, data):
    decoder = DECODERS[name]
    assert_fast_as_by_schema(decoder, written(data.draw(documents(decoder.schema))))


@EVERY
@given(data=st.data())
def test_a_damaged_document_is_decoded_fast_only_if_its_schema_accepts_it(name, data):
    decoder = DECODERS[name]
    assert_fast_as_by_schema(decoder, data.draw(mutated(decoder.schema)))


PLAIN = {
    "moesif.Event": b'{"request":{"time":"2016-08-16T09:21:56.998Z","uri":"/","verb":"GET"}}',
    "moesif.Action": b'{"action_name":"Clicked","request":{"time":"2024-03-01T04:45:42.914"}}',
    "moesif.User": b'{"user_id":"12345","modified_time":"2024-03-01T04:45:42.914"}',
    "logspace.Event": b'{"id":"1","system":"s","agent-id":"a","timestamp":"2015-05-18T14:07:00Z",'
    b'"double-properties":{"load":[0.5,1]},"integer-properties":{"cpus":4}}',
    "device.Event": b'{"typeId":"0045","description":"","appId":"a","severity":3,'
    b'"data":{"version":2.5},"timestamp":1440014969567}',
    "tiny.MeterReading": b'{"meter":"water","number":1,"value":5}',
}
TIMED = b'{"user_id":"u","modifiedTime":"1970-01-01T00:00:01Z"}'
PLAINLY = pytest.mark.parametrize("name", PLAIN)


def with_member(name, member):
    """The plain document of that name, and one member more at its end."""
    return PLAIN[name][:-1] + b"," + member + b"}"


@PLAINLY
def test_the_decoder_accepts_a_plain_document(name):
    assert DECODERS[name].decode(PLAIN[name]) is not None


@pytest.mark.parametrize(
    ("name", "raw", "attribute", "value"),
    [
        ("moesif.Event", with_member("moesif.Event", member), attribute, value)
        for member, attribute, value in (
            (b'"user_id":"u"', "user_id", "u"),
            (b'"userId":"u"', "user_id", "u"),
            (b'"user_id":null,"userId":"u"', "user_id", "u"),
            (b'"user_id":"","userId":"u"', "user_id", "u"),
            (b'"user_id":"u","userId":"v"', "user_id", "u"),
            (b'"userId":"v","user_id":"u"', "user_id", "u"),
            (b'"userId":"v","userId":"u"', "user_id", "u"),
            (b'"user_id":""', "user_id", ""),
            (b'"userId":""', "user_id", None),
            (b'"user_id":12345', "user_id", "12345"),
            (b'"userId":0', "user_id", "0"),
            (b'"user_id":2.50', "user_id", "2.5"),
            (b'"user_id":1e3', "user_id", "1000.0"),
            (b'"user_id":-0', "user_id", "0"),
            (b'"user_id":%d' % 2**70, "user_id", str(2**70)),
            (b'"user\\u005fid":"u"', "user_id", "u"),
            (b'"metadata":""', "metadata", None),
        )
    ]
    + [
        ("moesif.Action", b'{"actionName":"Clicked"}', "action_name", "Clicked"),
        ("moesif.User", b'{"anonymousId":7}', "anonymous_id", "7"),
        ("moesif.User", b'{"user_id":"u","modified_time":"noon"}', "modified_time", None),
        ("moesif.User", TIMED, "modified_time", 10**6),
        ("moesif.Company", b'{"companyId":"c"}', "company_id", "c"),
        ("moesif.Subscription", b'{"subscription_id":"s"}', "subscription_id", "s"),
    ],
)
def test_other_spellings_numbers_and_rules_are_decoded_fast(name, raw, attribute, value):
    decoder = DECODERS[name]

    assert assert_fast_as_by_schema(decoder, raw.decode())
    assert repr(value) == repr(getattr(decoder.decode(raw), attribute))


@pytest.mark.parametrize(
    "time",
    ["2015-05-18T14:07Z", "20150518T140700Z", "2015-05-18T14:07:00,5+02", "2015-05-18T14:06:60Z"],
)
def test_rare_forms_of_a_time_are_decoded_fast(time):
    for name, member in [("moesif.Event", "request"), ("logspace.Event", "timestamp")]:
        given = {"time": time, "verb": "GET", "uri": "/"} if member == "request" else time
        text = with_member(name, f'"{member}":{json.dumps(given)}'.encode()).decode()

        assert assert_fast_as_by_schema(DECODERS[name], text)


def test_an_optional_time_that_is_empty_is_decoded_fast():
    text = with_member(
        "moesif.Action", b'"actionName":"a","request":{"time":"","uri":"/"}'
    ).decode()

    assert assert_fast_as_by_schema(DECODERS["moesif.Action"], text)


@pytest.mark.parametrize(
    "member",
    [
        b'"date-properties":{"from":"2015-05-18T14:07:00Z","to":["2015-05-18T14:07:00+02:00"]}',
        b'"double-properties":{"load":["NaN","Infinity",4,4.0,%d]}' % 10**400,
        b'"type":5',
    ],
)
def test_properties_are_decoded_fast(member):
    text = with_member("logspace.Event", member).decode()

    assert assert_fast_as_by_schema(DECODERS["logspace.Event"], text)


@pytest.mark.parametrize(
    ("name", "raw", "path"),
    [
        ("moesif.User", b"{}", "user_id"),
        ("moesif.User", b'{"user_id":"","anonymous_id":null,"company_id":"c"}', "user_id"),
        ("moesif.Company", b'{"company_id":""}', "company_id"),
        ("moesif.Action", b"{}", "action_name"),
        ("moesif.Action", b'{"actionName":""}', "action_name"),
        ("moesif.Event", with_member("moesif.Event", b'"user_id":true'), "user_id"),
        ("moesif.Event", with_member("moesif.Event", b'"userId":[]'), "user_id"),
        (
            "logspace.Event",
            with_member("logspace.Event", b'"date-properties":{"a":["2015-05-18T14:07:00"]}'),
            "date-properties.a[0]",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named_by_the_schema(name, raw, path):
    with pytest.raises(Invalid) as caught:
        read(DECODERS[name], raw)

    assert [path] == [problem.path for problem in caught.value.problems]


@PLAINLY
@pytest.mark.parametrize(
    ("unknown", "why"),
    [(b"[" * 64 + b"]" * 64, "64 levels"), (b"NaN", "NaN"), (b"01", "Not JSON")],
)
def test_unknown_members_are_checked_to_be_json(name, unknown, why):
    raw = with_member(name, b'"unknown":' + unknown)
    if name == "logspace.Event" and why == "NaN":
        assert '"unknown":"NaN"' in read(DECODERS[name], raw)[1]
        return
    with pytest.raises(Unreadable, match=why):
        read(DECODERS[name], raw)


@PLAINLY
def test_63_levels_in_a_member_are_accepted(name):
    raw = with_member(name, b'"unknown":' + b"[" * 63 + b"]" * 63)

    assert raw.decode() == read(DECODERS[name], raw)[1]


@pytest.mark.parametrize("name", ["moesif.Event", "logspace.Event"])
@pytest.mark.parametrize("number", [b"1e400", b"7" * 5000, b"1208925819614629174706176"])
def test_a_number_of_any_size_keeps_its_text(name, number):
    raw = with_member(name, b'"unknown":' + number)

    assert raw.decode() == read(DECODERS[name], raw)[1]


@pytest.mark.parametrize("number", [b"1e400", b"-1E+309", b"7" * 5000])
def test_a_number_beyond_a_double_is_refused_anywhere_in_a_device_event(number):
    with pytest.raises(Unreadable, match="too large"):
        read(DECODERS["device.Event"], with_member("device.Event", b'"unknown":' + number))


def test_nan_and_infinities_are_stored_as_strings():
    raw = PLAIN["logspace.Event"].replace(b"[0.5,1]", b'[NaN,-Infinity,"Infinity",9.7E8]')
    event, text = read(DECODERS["logspace.Event"], raw)

    assert '"load":["NaN","-Infinity","Infinity",970000000.0]' in text
    assert "1" == event.id


@pytest.mark.parametrize("name", ["moesif.Event", "moesif.Action", "logspace.Event"])
def test_a_nul_in_a_type_or_subject_is_invalid(name):
    raw = PLAIN[name]
    for text in (b'"GET"', b'"Clicked"', b'"s"'):
        raw = raw.replace(text, text[:-1] + b'\\u0000"')
    with pytest.raises(Invalid, match="NUL"):
        read(DECODERS[name], raw)
