"""Unknown members in lenient and strict schemas, and the form of problems."""

import pytest
from marshmallow import fields, post_load, pre_load, validates, validates_schema

from schemas import Invalid, Lenient, Problem, Strict, load
from schemas.fields import INT32, Properties, RequiredText, Text, Whole


class Place(Lenient):
    city = RequiredText(metadata={"aliases": ("town", "village")})
    zip = Text()


class Letter(Lenient):
    title = RequiredText()
    sender = fields.Nested(Place, required=True)
    counts = Properties(Whole(INT32))


class Door(Strict):
    colour = fields.String()
    handles = fields.Integer(strict=True)


class House(Strict):
    doors = fields.List(fields.Nested(Door))
    roof = fields.Nested(Door)


def problems_of(schema, document):
    with pytest.raises(Invalid) as caught:
        load(schema, document)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_a_client_may_send_unknown_members():
    assert {"city": "Graz", "zip": None} == load(Place(), {"city": "Graz", "mayor": "?"})


@pytest.mark.parametrize("document", [[], "x", 1, None, True])
def test_a_document_that_is_not_an_object_has_one_problem(document):
    assert [("", "Not an object.")] == problems_of(Place(), document)


@pytest.mark.parametrize(
    "document",
    [
        {"town": "Graz"},
        {"village": "Graz"},
        {"city": None, "town": "Graz"},
        {"city": "", "town": "Graz"},
        {"city": "Graz", "town": "Linz"},
        {"town": "", "village": "Graz"},
    ],
)
def test_an_alias_counts_if_the_name_is_missing_null_or_empty(document):
    assert "Graz" == load(Place(), document)["city"]


def test_loading_does_not_change_the_document():
    document = {"town": "Graz"}
    load(Place(), document)

    assert {"town": "Graz"} == document


def test_every_problem_is_reported_with_its_path_in_the_order_of_the_fields():
    document = {"counts": {"a": [1, "x", 2.5], "b": True}, "sender": {"zip": []}, "title": 5}

    assert [
        "title",
        "sender.city",
        "sender.zip",
        "counts.a[1]",
        "counts.a[2]",
        "counts.b",
    ] == [path for path, _ in problems_of(Letter(), document)]


def test_a_property_may_be_named_like_a_pseudo_key():
    document = {"title": "t", "sender": {"city": "c"}, "counts": {"value": "x", "0": [True]}}

    assert 2 == len(problems_of(Letter(), document))


def test_a_member_name_with_a_lone_surrogate_is_reported_with_escapes():
    document = {"title": "t", "sender": {"city": "c"}, "counts": {"\ud800": "x"}}

    assert ["counts.\\ud800"] == [path for path, _ in problems_of(Letter(), document)]


def test_an_unknown_option_is_an_error_that_suggests_the_nearest_one():
    assert [("color", "Unknown option; did you mean 'colour'?")] == problems_of(
        Door(), {"color": "red"}
    )


def test_an_unknown_option_in_a_list_of_tables_suggests_options_of_that_table():
    [(path, message)] = problems_of(House(), {"doors": [{}, {"handle": 1}]})

    assert ("doors[1].handle", "handles") == (path, message.split("'")[1])


def test_an_option_unlike_all_others_is_reported_with_all_known_options():
    [(path, message)] = problems_of(House(), {"roof": {"zzz": 1}})

    assert ("roof.zzz", "Unknown option; known options: colour, handles.") == (path, message)


@pytest.mark.parametrize(
    ("path", "seen"),
    [("", "[3]"), ("request.time", "[3].request.time"), ("[1].a", "[3][1].a")],
)
def test_a_problem_can_be_prefixed_with_an_outer_path(path, seen):
    assert Problem(seen, "why") == Problem(path, "why").prefixed("[3]")


def test_the_message_of_the_exception_names_all_problems():
    fault = Invalid((Problem("a", "one"), Problem("b", "two")))

    assert "a: one; b: two" == str(fault)


def test_one_of_several_members_may_be_needed():
    kind = type(
        "Person", (Lenient,), {"first": Text(), "last": Text(), "any_of": ("last", "first")}
    )

    assert {"first": "a", "last": ""} == load(kind(), {"first": "a", "last": ""})
    assert [("last", "Missing data for required field.")] == problems_of(kind(), {"first": ""})


def test_any_of_names_fields():
    with pytest.raises(TypeError, match="frist"):
        type("Person", (Lenient,), {"first": Text(), "any_of": ("frist",)})()
    with pytest.raises(TypeError, match="tuple"):
        type("Person", (Lenient,), {"first": Text(), "any_of": "first"})


class Shouting:
    @post_load
    def shout(self, data, **_):
        return {name: value.upper() for name, value in data.items()}


@pytest.mark.parametrize(
    ("bases", "body"),
    [
        ((), {"hook": pre_load(lambda self, data, **_: data)}),
        ((), {"hook": post_load(lambda self, data, **_: {})}),
        ((), {"hook": validates("city")(lambda self, value, **_: None)}),
        ((), {"hook": validates_schema(lambda self, data, **_: None)}),
        ((), {"load": lambda self, data, **_: {}}),
        ((), {"handle_error": staticmethod(print)}),
        ((), {"_resolve_aliases": None}),
        ((), {"dict_class": dict}),
        ((), {"OPTIONS_CLASS": Lenient.OPTIONS_CLASS}),
        ((), {"__init__": lambda self: None}),
        ((), {"__init_subclass__": classmethod(lambda cls: None)}),
        ((Shouting,), {}),
        ((Strict,), {}),
    ],
)
def test_the_schema_of_a_client_document_holds_no_code(bases, body):
    with pytest.raises(TypeError, match="Lenient"):
        type("Coded", (*bases, Place), body)
