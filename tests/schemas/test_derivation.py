"""What a schema says is derived rightly, or it is an error at import; nothing is passed over."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import EXCLUDE, INCLUDE, RAISE, Schema, fields, missing, validate

from schemas import Lenient
from schemas.decoders import Decoder
from schemas.fields import INT32, Boolean, Name, Object, Properties, Real, RequiredText, Text, Whole
from schemas.timestamps import LenientTimestamp, Timestamp
from tests.schemas.decoding import assert_fast_as_by_schema
from tests.schemas.documents import ODD, Token, written


class Inner(Lenient):
    a = fields.String(required=True)


class Loud(Text):
    """A field that makes something else of a value than the class it derives from."""

    def _deserialize(self, value, attr, data, **kwargs):
        return str(super()._deserialize(value, attr, data, **kwargs)).upper()


class Plain(Schema):
    """A schema that may have code, for all that we know."""

    a = fields.String()


class Endless(Lenient):
    inner = fields.Nested(lambda: Endless(), allow_none=True)  # noqa: PLW0108 - not there yet


class Longest(validate.Length):
    """A validator that does something else than the one it derives from."""

    def __call__(self, value):
        return super().__call__(value * 2)


def aliased(*names):
    return {"aliases": names}


def of(field, name="a", **others):
    return Decoder(Lenient.from_dict({name: field, **others})())


@pytest.mark.parametrize(
    ("field", "fast", "not_fast"),
    [
        (fields.String(validate=validate.Length(equal=2)), ['"ab"', '"éé"'], ['"a"', '"abc"']),
        (fields.String(validate=validate.Length(1, 2)), ['"a"', '"ab"'], ['""', '"abc"']),
        (fields.String(validate=validate.Regexp("b")), ['"ba"'], ['"ab"']),
        (fields.String(validate=validate.Regexp("a|b$")), ['"ax"', '"b"'], ['"cb"']),
        (fields.String(validate=validate.Regexp(r"^a\Z")), ['"a"'], [r'"a\n"', r'"\na"']),
        (
            fields.Integer(
                strict=True,
                validate=validate.Range(1, 3, min_inclusive=False, max_inclusive=False),
            ),
            ["2"],
            ["1", "3", "2.0", "true", '"2"'],
        ),
        (fields.Integer(strict=True, allow_none=True), ["null", "5"], ["5.0"]),
        (fields.String(allow_none=True, validate=validate.Length(1)), ["null", '"a"'], ['""', "1"]),
        (fields.String(), ['"a"'], ["null", "1"]),
        (Text(validate=validate.Length(max=2)), ['"ab"', "null", '""'], ['"abc"', "123"]),
        (Name(), ["1", "null"], ['"\\u0000"', '"\\ud800"', "true", "[]"]),
        (RequiredText(), ['"a"'], ['""', "null"]),
        (Object(), ["{}", "null", '""'], ['"x"', "[]"]),
        (LenientTimestamp(), ['"noon"', "5", "null", "[1]", '"2015-05-18T14:07:00"'], []),
        (Whole(INT32), ["4"], ["4.5", str(2**31)]),
        (Real(), ["4", "4.0", '"NaN"'], ['"nan"', "true"]),
        (Properties(Text()), ['{"a":1,"b":["x",null]}'], ['{"a":true}', "null"]),
        (
            Properties(fields.String(validate=validate.Length(equal=1))),
            ['{"a":["x"]}'],
            ['{"a":"xy"}'],
        ),
        (Properties(LenientTimestamp()), ['{"a":[1,"noon"],"b":{}}'], []),
        (fields.Nested(Inner), ['{"a":"x"}'], ["null", "{}", '{"a":5}']),
        (fields.Nested(Inner, allow_none=True), ["null"], ["[]"]),
    ],
)
def test_what_a_field_says_is_derived(field, fast, not_fast):
    decoder = of(field)

    assert dict.fromkeys(fast, True) == {
        value: assert_fast_as_by_schema(decoder, f'{{"a":{value}}}') for value in fast
    }
    assert dict.fromkeys(not_fast, False) == {
        value: assert_fast_as_by_schema(decoder, f'{{"a":{value}}}') for value in not_fast
    }


@pytest.mark.parametrize(
    ("default", "expected"), [("x", "x"), (None, None), (5, 5), (missing, None)]
)
def test_a_default_counts_where_the_member_is_missing(default, expected):
    decoder = of(fields.String(load_default=default, allow_none=False))

    assert assert_fast_as_by_schema(decoder, "{}")
    assert expected == decoder.decode(b"{}").a


def test_a_data_key_is_the_only_name_of_its_field():
    decoder = of(fields.String(data_key="b", required=True), c=fields.String(data_key=""))

    assert "y" == decoder.decode(b'{"b":"x","":"y"}').c
    assert decoder.decode(b'{"a":"x"}') is None


def test_the_first_spelling_that_is_set_counts():
    decoder = of(Text(metadata=aliased("b", "c")))

    for text in ('{"c":"1","b":""}', '{"b":1,"c":"2"}', '{"c":2,"b":"1","a":null}'):
        assert assert_fast_as_by_schema(decoder, text)
        assert "1" == decoder.decode(text.encode()).a


@pytest.mark.parametrize(
    "field",
    [
        fields.String(validate=validate.Regexp("a", re.IGNORECASE)),
        fields.String(validate=validate.Regexp("(?i)a")),
        fields.String(validate=[validate.Regexp("a"), validate.Regexp("b")]),
        fields.String(validate=[validate.Length(1), validate.Length(2)]),
        fields.String(validate=validate.Length(-1)),
        fields.String(validate=validate.OneOf(["a"])),
        fields.String(validate=validate.Range(1)),
        fields.String(validate=str.isalpha),
        fields.String(validate=Longest(1, 2)),
        fields.String(validate=validate.And(validate.Length(1))),
        fields.Integer(strict=True, validate=validate.Range(0.5)),
        fields.Integer(strict=True, validate=validate.Range(max=2**63)),
        fields.Integer(
            strict=True, validate=[validate.Range(0), validate.Range(1, min_inclusive=False)]
        ),
        fields.Integer(),
        fields.UUID(),
        fields.Url(),
        fields.DateTime(),
        fields.Raw(),
        fields.List(fields.String()),
        fields.String(load_default=list),
        fields.String(load_default=["a"]),
        fields.String(attribute="b"),
        fields.String(dump_only=True),
        fields.String(pre_load=str.strip),
        fields.String(post_load=str.upper),
        fields.String(load_default="x", metadata=aliased("b")),
        fields.String(metadata=aliased("a")),
        fields.String(metadata=aliased("b", "b")),
        fields.String(metadata={"aliases": "bc"}),
        fields.String(data_key='"'),
        fields.Nested(Inner, many=True),
        fields.Nested(Inner(many=True)),
        fields.Nested(Inner(partial=True)),
        fields.Nested(Inner, unknown=RAISE),
        fields.Nested(Inner(unknown=INCLUDE)),
        fields.Nested(Inner, validate=bool),
        fields.Nested(Inner, load_default=dict),
        fields.Nested(Inner, load_default="x"),
        fields.Nested(Plain),
        fields.Nested(Endless),
        Loud(),
        Boolean(validate=bool),
        Real(validate=validate.Range(0)),
        Object(validate=validate.Length(1)),
        Object(load_default={"a": 1}),
        Timestamp(validate=validate.Range(0)),
        LenientTimestamp(required=True),
        LenientTimestamp(load_default=5),
        Properties(fields.Nested(Inner)),
        Properties(fields.Url()),
        Properties(Loud()),
        Properties(Whole(INT32, post_load=str)),
        Properties(Whole(INT32), validate=validate.Length(1)),
    ],
)
def test_what_cannot_be_derived_is_an_error_at_import(field):
    with pytest.raises(TypeError):
        of(field)


@pytest.mark.parametrize(
    "options", [{"unknown": RAISE}, {"unknown": INCLUDE}, {"many": True}, {"partial": True}]
)
def test_an_option_of_the_schema_that_cannot_be_derived_is_an_error_at_import(options):
    with pytest.raises(TypeError):
        Decoder(Inner(**options))


def test_a_schema_that_may_have_code_is_an_error_at_import():
    with pytest.raises(TypeError, match="Plain"):
        Decoder(Plain(unknown=EXCLUDE))


@pytest.mark.parametrize(
    "names",
    [
        {"a": Text(load_only=True), "b": Text(load_only=True, data_key="a")},
        {"a": Text(metadata=aliased("b")), "b": Text()},
        {"b": Text(), "a": Text(metadata=aliased("b"))},
        {"given_a": fields.String(), "a": Text()},
        {"a": Text(), "given_a": fields.String()},
        {"alias0_a": Text(), "a": Text(metadata=aliased("b"))},
        {"a": Text(metadata=aliased("b")), "alias0_a": Text()},
        {"a-b": fields.String()},
        {"__init__": fields.String()},
    ],
)
def test_members_that_cannot_be_told_apart_are_an_error_at_import(names):
    with pytest.raises(TypeError):
        Decoder(Lenient.from_dict(names)())


VALIDATORS = st.one_of(
    st.builds(validate.Length, min=st.none() | st.integers(0, 2), max=st.none() | st.just(2)),
    st.builds(validate.Length, equal=st.integers(0, 3)),
    st.builds(
        validate.Range,
        min=st.none() | st.integers(-1, 2),
        max=st.none() | st.integers(2, 6),
        min_inclusive=st.booleans(),
        max_inclusive=st.booleans(),
    ),
    st.sampled_from(["a", "b", "^a", "b$", "a|b", "(?:a)(b)?", r"^\w*\Z", ""]).map(validate.Regexp),
    st.just(validate.Regexp("A", re.IGNORECASE)),
    st.just(validate.OneOf(["a"])),
)
OPTIONS = st.fixed_dictionaries(
    {"metadata": st.sampled_from([{}, {}, aliased("p"), aliased("p", "q"), aliased("a")])},
    optional={
        "validate": st.lists(VALIDATORS, max_size=2),
        "data_key": st.sampled_from(["a", "b", "", "ü"]),
        "post_load": st.just(str),
    },
)
PLAIN_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "required": st.booleans(),
        "allow_none": st.booleans(),
        "load_default": st.sampled_from([None, "x", 1, list]),
    },
)


@st.composite
def attacking_fields(draw):
    """Fields with options of all sorts, most of which go together."""
    kind = draw(
        st.sampled_from(
            [
                *(fields.String, fields.Integer, Text, Name, RequiredText, Timestamp, Loud),
                *(LenientTimestamp, Object, Real, Boolean, Properties, fields.Nested, fields.UUID),
            ]
        )
    )
    options = draw(OPTIONS)
    if kind in (fields.String, fields.Integer, Real, Boolean, fields.Nested, fields.UUID):
        options |= draw(PLAIN_OPTIONS)
    if kind in (Timestamp, Object):
        options["required"] = draw(st.booleans())
    if kind is RequiredText:
        options.pop("validate", None)
    first = {
        fields.Nested: lambda: [draw(st.sampled_from([Inner, Endless, Plain]))],
        Properties: lambda: [
            draw(st.sampled_from([Text(), Real(), Timestamp(), Whole(INT32), fields.String()]))
        ],
    }.get(kind, list)()
    if kind is fields.Integer:
        options["strict"] = True
    try:
        return kind(*first, **options)
    except (TypeError, ValueError):  # options that do not go together, by marshmallow's word
        return fields.String()


VALUES = ODD | st.sampled_from(
    [
        *map(Token, ('"a"', '"ab"', '"ba"', '"A"', '"x"', '"abc"', '"b\\n"', "1", "2", "5", "2.0")),
        *map(Token, ("null", '""', "NaN", '{"a":"x"}', '{"a":["x"]}', '{"a":2,"b":[1,2]}')),
        *map(Token, ('"2015-05-18T14:07:00Z"', '{"t":["2015-05-18T14:07:00Z"]}', "1e2", "true")),
    ]
)


@given(
    names=st.dictionaries(st.sampled_from(["a", "b", "c"]), attacking_fields(), min_size=1),
    any_of=st.sets(st.sampled_from(["a", "b"])),
    documents=st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "c", "p", "q", "ü", "", "x"]), VALUES),
        min_size=1,
        max_size=6,
    ),
)
def test_no_schema_is_derived_otherwise_than_it_loads(names, any_of, documents):
    made = Lenient.from_dict(names)
    try:
        kind = type("Attacking", (made,), {"any_of": tuple(sorted(any_of & names.keys()))})
        decoder = Decoder(kind())
    except (TypeError, ValueError):  # marshmallow itself refuses two members of one name
        return
    for document in documents:
        assert_fast_as_by_schema(decoder, written(document))
