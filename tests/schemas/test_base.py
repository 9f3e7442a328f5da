"""The two attitudes to unknown members, and the one form of fault."""

import pytest
from marshmallow import fields

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


def test_a_client_may_send_members_that_we_do_not_know():
    assert {"city": "Graz", "zip": None} == load(Place(), {"city": "Graz", "mayor": "?"})


@pytest.mark.parametrize("document", [[], "x", 1, None, True])
def test_what_is_no_object_is_one_fault_of_the_whole(document):
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
def test_another_spelling_counts_where_the_first_is_missing_null_or_empty(document):
    assert "Graz" == load(Place(), document)["city"]


def test_reading_a_document_leaves_it_as_it_was():
    document = {"town": "Graz"}
    load(Place(), document)

    assert {"town": "Graz"} == document


def test_every_fault_is_named_with_its_path_in_the_order_of_the_fields():
    document = {"counts": {"a": [1, "x", 2.5], "b": True}, "sender": {"zip": []}, "title": 5}

    assert [
        "title",
        "sender.city",
        "sender.zip",
        "counts.a[1]",
        "counts.a[2]",
        "counts.b",
    ] == [path for path, _ in problems_of(Letter(), document)]


def test_a_property_may_be_named_like_our_own_words_for_places():
    document = {"title": "t", "sender": {"city": "c"}, "counts": {"value": "x", "0": [True]}}

    assert 2 == len(problems_of(Letter(), document))


def test_a_member_that_is_no_unicode_is_named_in_words_that_are():
    document = {"title": "t", "sender": {"city": "c"}, "counts": {"\ud800": "x"}}

    assert ["counts.\\ud800"] == [path for path, _ in problems_of(Letter(), document)]


def test_an_unknown_option_is_an_error_that_names_the_nearest_known_one():
    assert [("color", "Unknown option; did you mean 'colour'?")] == problems_of(
        Door(), {"color": "red"}
    )


def test_an_unknown_option_in_a_list_of_tables_is_compared_with_those_of_its_own_table():
    [(path, message)] = problems_of(House(), {"doors": [{}, {"handle": 1}]})

    assert ("doors[1].handle", "handles") == (path, message.split("'")[1])


def test_an_option_like_none_is_answered_with_all_that_are_known():
    [(path, message)] = problems_of(House(), {"roof": {"zzz": 1}})

    assert ("roof.zzz", "Unknown option; known options: colour, handles.") == (path, message)


@pytest.mark.parametrize(
    ("path", "seen"),
    [("", "[3]"), ("request.time", "[3].request.time"), ("[1].a", "[3][1].a")],
)
def test_a_problem_can_be_seen_from_one_level_further_out(path, seen):
    assert Problem(seen, "why") == Problem(path, "why").prefixed("[3]")


def test_the_message_of_the_exception_names_all_problems():
    fault = Invalid((Problem("a", "one"), Problem("b", "two")))

    assert "a: one; b: two" == str(fault)
