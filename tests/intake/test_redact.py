"""Masking of secrets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake.redact import MASK, WITHHELD, Redactor, Rules
from schemas import Problem
from tests.records import make_record

SECRET = "s3cr3t"


def redactor(headers=(), keys=(), **tenants: Rules) -> Redactor:
    return Redactor(
        Rules.of(headers, keys), {("moesif", name): rules for name, rules in tenants.items()}
    )


def masked(with_rules: Redactor, document: object, **record: str) -> object:
    data = json.dumps(document)
    return json.loads(with_rules.redact(make_record(data=data, **record)).data)


def test_a_member_is_masked_by_name_at_any_depth_and_in_any_case():
    document = {
        "password": SECRET,
        "a": [{"PassWord": {"inner": SECRET}}, [[{"password": [SECRET]}]]],
        "passwords": "kept",
    }

    assert {
        "password": MASK,
        "a": [{"PassWord": MASK}, [[{"password": MASK}]]],
        "passwords": "kept",
    } == masked(redactor(keys=["PASSWORD"]), document)


@pytest.mark.parametrize("inner", ["password", "token", "other"])
def test_nothing_of_a_masked_value_is_left_if_it_holds_masked_members_itself(inner):
    document = {"password": {inner: {"token": SECRET}, "rest": SECRET}, "b": 1}

    found = masked(redactor(keys=["password", "token"]), document)
    assert {"password": MASK, "b": 1} == found


def test_a_header_is_masked_in_any_case_but_only_in_headers():
    document = {
        "request": {"headers": {"Authorization": SECRET, "Accept": "*/*"}},
        "response": {"headers": {"AUTHORIZATION": [SECRET, SECRET]}},
        "authorization": "not a header",
    }

    assert {
        "request": {"headers": {"Authorization": MASK, "Accept": "*/*"}},
        "response": {"headers": {"AUTHORIZATION": MASK}},
        "authorization": "not a header",
    } == masked(redactor(headers=["authorization"]), document)


@pytest.mark.parametrize("headers", [None, {}, {"Accept": "*/*"}, {"a": {"b": ["c"]}}])
def test_headers_without_a_secret_are_left_unchanged(headers):
    document = {"request": {"headers": headers}}

    assert document == masked(redactor(headers=["authorization"]), document)


@pytest.mark.parametrize(
    "headers", [f"authorization: {SECRET}", [["authorization", SECRET]], [{"name": SECRET}]]
)
def test_headers_that_are_not_an_object_are_masked_as_a_whole(headers):
    document = {"request": {"headers": headers}}

    assert {"request": {"headers": MASK}} == masked(redactor(headers=["authorization"]), document)
    assert document == masked(redactor(keys=["authorization"]), document)


def test_nothing_but_the_secret_is_changed():
    text = '{ "n": 2.50,\t"password" :\n {"a":[1,"}"]} , "password":"\\"x", "a":"\\u00e9"}'
    expected = f'{{ "n": 2.50,\t"password" :\n "{MASK}" , "password":"{MASK}", "a":"\\u00e9"}}'

    assert expected == redactor(keys=["password"]).redact(make_record(data=text)).data


@pytest.mark.parametrize(
    "text",
    [
        '{"metadata":{"password":"S3cr3t"},"metadata":{}}',
        '{"password":"S3cr3t","password":1}',
        '{"headers":{"cookie":"S3cr3t"},"headers":null}',
        '{"headers":{"a":{"headers":{"cookie":"S3cr3t"}}}}',
        '{"headers":{"headers":["S3cr3t"]}}',
        '{"pass\\u0077ord":"S3cr3t","pass\\u0077ord":2}',
        '{"passwor\\u0064":"S3cr3t"}',
        '{"k\u212aey":"S3cr3t","to\u212aen":"S3cr3t"}'.replace("k\u212aey", "to\u212aEN"),
        '{"to\\u212aen":"S3cr3t"}',
        '{"stra\u00dfe":"S3cr3t", "STRA\u1e9eE":"S3cr3t"}',
        '{"a/b":"S3cr3t"}',
        '{"a\\/b":"S3cr3t"}',
    ],
)
def test_no_way_to_write_a_member_passes_the_rules(text):
    rules = redactor(headers=["cookie"], keys=["password", "token", "stra\u00dfe", "a/b"])

    assert "S3cr3t" not in rules.redact(make_record(data=text)).data
    assert "S3cr3t" not in rules.redact_raw("moesif", "acme", text)


def test_an_event_with_too_many_secrets_to_mask_is_withheld():
    password = '"password":"S3cr3t"'
    data = '{"p\\u0061ssword":0,"a":[' + ",".join([f"{{{password}}}"] * 30_000) + "]}"
    record = redactor(keys=["password"]).redact(make_record(data=data, subject="S3cr3t"))

    assert (WITHHELD, MASK, MASK) == (json.loads(record.data), record.type, record.subject)


def test_a_large_secret_masks_type_and_subject():
    data = json.dumps({"password": ["x" * 100_000, "GET"]})
    record = redactor(keys=["password"]).redact(make_record(data=data, subject="not in it"))

    assert ({"password": MASK}, MASK, MASK) == (
        json.loads(record.data),
        record.type,
        record.subject,
    )


def test_a_problem_does_not_tell_what_is_in_a_masked_member():
    rules = redactor(headers=["cookie"], keys=["string-properties"])
    told = [
        rules.redact_problem("moesif", "acme", Problem(path, "Wrong.")).path
        for path in ("string-properties.S3cr3t[3]", "[7].String-Properties.a", "request.time", "")
    ]

    assert ["string-properties.", "[7].String-Properties.", "request.time", ""] == told


def test_a_tenant_has_its_own_rules_in_addition_to_the_default_ones():
    rules = redactor(keys=["password"], other=Rules.of([], ["email"]))
    document = {"password": SECRET, "email": SECRET}

    assert {"password": MASK, "email": SECRET} == masked(rules, document, tenant="acme")
    assert {"password": MASK, "email": MASK} == masked(rules, document, tenant="other")
    assert {"password": MASK, "email": SECRET} == masked(
        rules, document, tenant="other", dialect="device"
    )


def test_text_without_secrets_is_not_changed():
    record = make_record(data='{ "a" : 2.50, "n": 1208925819614629174706176 }')

    assert record is redactor().redact(record)
    assert record is redactor(keys=["password"]).redact(record)


def test_members_next_to_a_masked_one_keep_their_values():
    text = '{"password":"x","n":1208925819614629174706176,"f":2.50,"s":"\\ud800\\u0000é🎉"}'
    data = redactor(keys=["password"]).redact(make_record(data=text)).data

    assert {**json.loads(text), "password": MASK} == json.loads(data)
    assert "1208925819614629174706176" in data


def test_masking_changes_only_data_type_and_subject():
    record = make_record("a", data='{"password":"x"}')
    result = redactor(keys=["password"]).redact(record)

    for name in set(record.__struct_fields__) - {"data"}:
        assert getattr(record, name) == getattr(result, name)


@pytest.mark.parametrize("number", [7, 77123.25, 1e22, -0.0])
@pytest.mark.parametrize("form", [str, lambda number: str(float(number))])
def test_a_subject_that_is_a_masked_number_is_masked(number, form):
    record = make_record(data=json.dumps({"user_id": number}), subject=form(number))

    assert MASK == redactor(keys=["user_id"]).redact(record).subject


@pytest.mark.parametrize(
    ("keys", "type", "subject"),
    [
        (["system"], "os/cpu", f"{MASK}/db/main"),
        (["agent-id"], "os/cpu", f"web/1/{MASK}"),
        (["system", "agent-id"], "os/cpu", f"{MASK}/{MASK}"),
        (["type"], MASK, "web/1/db/main"),
        (["id"], "os/cpu", "web/1/db/main"),
    ],
)
def test_a_masked_member_is_masked_in_the_type_and_at_both_ends_of_the_subject(keys, type, subject):
    document = {"id": "1", "type": "os/cpu", "system": "web/1", "agent-id": "db/main"}
    record = make_record(data=json.dumps(document), type="os/cpu", subject="web/1/db/main")
    result = redactor(keys=keys).redact(record)

    assert (type, subject) == (result.type, result.subject)


@pytest.mark.parametrize(("system", "agent"), [("a", "b/a"), ("a/b", "b"), ("a", "a/a/a")])
def test_no_part_of_a_subject_is_left_if_one_secret_contains_another(system, agent):
    data = json.dumps({"system": system, "agent-id": agent})
    record = make_record(data=data, subject=f"{system}/{agent}")

    assert f"{MASK}/{MASK}" == redactor(keys=["system", "agent-id"]).redact(record).subject


def test_a_masked_member_without_text_leaves_type_and_subject_unchanged():
    record = make_record(data='{"user_id":"","n":null}', type="/", subject="/")
    result = redactor(keys=["user_id", "n"]).redact(record)

    assert ("/", "/") == (result.type, result.subject)


def test_a_masked_member_that_is_repeated_leaves_no_copy():
    data = redactor(keys=["password"]).redact(
        make_record(data=f'{{"password":"{SECRET}","password":"{SECRET}"}}')
    )

    assert SECRET not in data.data


def test_a_member_whose_name_is_written_with_escapes_is_masked():
    record = make_record(data=f'{{"p\\u0061ssword":"{SECRET}"}}')

    assert SECRET not in redactor(keys=["password"]).redact(record).data


def test_a_redactor_is_active_if_any_tenant_has_rules():
    assert not redactor().active
    assert not redactor(acme=Rules()).active
    assert redactor(keys=["a"]).active
    assert redactor(headers=["a"]).active
    assert redactor(acme=Rules.of(["a"], [])).active


def test_rejected_json_is_masked():
    rules = redactor(keys=["password"])

    assert SECRET not in rules.redact_raw("moesif", "acme", f'{{"password":"{SECRET}"}}')
    assert '{ "a":1}' == rules.redact_raw("moesif", "acme", '{ "a":1}')
    assert MASK in rules.redact_raw("moesif", "acme", '{"password":NaN}')


def test_rejected_text_that_is_not_json_is_withheld_if_there_are_rules():
    text = f'{{"password":"{SECRET}"'

    assert WITHHELD == redactor(keys=["password"]).redact_raw("moesif", "acme", text)
    assert WITHHELD == redactor(keys=["password"]).redact_raw("moesif", "acme", "[" * 100_000)
    assert WITHHELD == redactor(keys=["password"]).redact_raw("moesif", "acme", f'"{"x" * 2**20}"')
    assert text == redactor().redact_raw("moesif", "acme", text)
    assert text == redactor(other=Rules.of([], ["a"])).redact_raw("moesif", "acme", text)


NAMES = st.sampled_from(
    ["password", "Password", "passwor\u0064", "headers", "cookie", "a", "b", "\u212a"]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
MEMBERS = st.recursive(
    LEAVES.map(json.dumps) | st.sampled_from(['"x"', '"\\"password\\":"', '"\\\\"', '"\\u0061"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda many: f"[{', '.join(many)}]")
        | st.lists(st.tuples(NAMES, inner), max_size=4).map(
            lambda many: f"{{{', '.join(f'{json.dumps(name)} :{one}' for name, one in many)}}}"
        )
    ),
)
documents = MEMBERS.map(json.loads)


@given(documents)
def test_masking_removes_secret_values_and_nothing_else(document):
    def expected(node):
        if isinstance(node, dict):
            return {k: MASK if k.lower() == "password" else expected(v) for k, v in node.items()}
        return [expected(one) for one in node] if isinstance(node, list) else node

    assert expected(document) == masked(redactor(keys=["password"]), document)


def _pairs(pairs):
    return tuple(pairs)


@given(MEMBERS, st.booleans())
def test_no_secret_is_left_however_often_a_member_is_repeated(text, decoded):
    rules = redactor(headers=["cookie"], keys=["password"])
    data = f'{{"p\\u0061":0,"d":{text}}}' if decoded else text
    kept = rules.redact(make_record(data=data)).data

    def check(node, in_headers=False):
        if not isinstance(node, tuple):
            return
        for name, value in node:
            lowered = name.lower()
            if lowered == "password" or (in_headers and lowered == "cookie"):
                assert value == MASK
            elif lowered == "headers":
                assert value is None or value == MASK or isinstance(value, tuple)
            for one in value if isinstance(value, list) else [value]:
                check(one, in_headers=lowered == "headers")

    check(json.loads(kept, object_pairs_hook=_pairs))


PAIRED = Redactor(Rules.of(["cookie", "X-Api-Key"], ["password", "enduser.id"]), {}, ["otlp"])


def pair(key: object, value: object = None) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": SECRET} if value is None else value}


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "PassWord",
        "user.password",
        "password.old",
        "a.Password.b",
        "enduser.id",
        "app.enduser.id",
        "http.request.header.cookie",
        "http.response.header.x-api-key",
        "http.request.header.x_api_key",
    ],
)
def test_a_pair_is_masked_by_its_key(key):
    array = {"arrayValue": {"values": [{"stringValue": SECRET}]}}
    inner = {"kvlistValue": {"values": [pair(key)]}}
    document = {"attributes": [pair(key), pair(key, array), pair("outer", inner)]}
    reversed_pair = {"value": {"stringValue": SECRET}, "key": key}
    found = masked(PAIRED, {**document, "more": [reversed_pair]}, dialect="otlp")

    assert SECRET not in json.dumps(found)
    assert [pair(key, {"stringValue": MASK})] * 2 == found["attributes"][:2]


@pytest.mark.parametrize(
    "key", ["passwords", "enduser", "id", "cookie", "http.request.header.cookies", 5, None]
)
def test_a_pair_with_another_key_is_kept(key):
    document = {"attributes": [pair(key)], "password": SECRET}

    expected = {**document, "password": MASK}
    assert expected == masked(PAIRED, document, dialect="otlp")


def test_a_key_with_an_escape_is_masked_too():
    data = '{"attributes":[{"key":"pass\\u0077ord","value":{"stringValue":"s3cr3t"}}]}'

    assert SECRET not in PAIRED.redact(make_record(data=data, dialect="otlp")).data


def test_a_type_or_subject_that_repeats_a_masked_pair_is_masked():
    data = json.dumps({"attributes": [pair("password")]})
    record = make_record(data=data, dialect="otlp", type=SECRET, subject=SECRET)

    redacted = PAIRED.redact(record)
    assert (MASK, MASK) == (redacted.type, redacted.subject)


def test_pairs_mean_nothing_in_other_dialects():
    document = {"attributes": [pair("password")]}

    assert document == masked(PAIRED, document, dialect="moesif")


def test_rules_of_a_tenant_apply_to_pairs():
    rules = {("otlp", "acme"): Rules.of([], ["token"])}
    redactor = Redactor(Rules(), rules, ["otlp"])
    document = {"attributes": [pair("token")]}

    kept = masked(redactor, document, dialect="otlp", tenant="acme")
    assert pair("token", {"stringValue": MASK}) == kept["attributes"][0]
    assert document == masked(redactor, document, dialect="otlp", tenant="other")
