"""What the tests of decoders share: every decoder that there is, and one way to compare."""

import gc
import importlib
import pkgutil

import msgspec

import gateway
from gateway.adapter import ParseResult
from gateway.adapters.batch import read_batch
from schemas import Invalid, Unreadable, jsontext
from schemas.decoders import Decoder
from tests import tiny


def every_decoder():
    """The decoders that the modules of the gateway and the small test dialect make, by name."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    made = [one for one in gc.get_objects() if isinstance(one, Decoder)]
    known = ("schemas.", tiny.__name__)
    return {
        f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}": one
        for one in made
        if (kind := type(one.schema)).__module__.startswith(known)
    }


def read(decoder, raw):
    """The document and its text, by the loop that adapters use."""
    result = ParseResult([], [], batch=False)
    read_batch(decoder, [raw], result, lambda document, text: (document, text))
    for rejected in result.rejected:
        raise Invalid(tuple(rejected.problems))
    [read] = result.records
    return read


def plain(document, schema):
    """Structs as dicts and raw JSON as what it says, so that two readings can be compared."""
    if document is None:
        return None
    return {
        name: (
            plain(getattr(document, name), field.schema)
            if hasattr(field, "schema")
            else _plain_value(getattr(document, name))
        )
        for name, field in schema.fields.items()
    }


def _plain_value(value):
    if isinstance(value, msgspec.Raw):
        return jsontext.loads(bytes(value))
    if isinstance(value, dict):
        return {name: _plain_value(one) for name, one in value.items()}
    return value


def assert_fast_as_by_schema(decoder, text):
    """What is decoded fast, the schema takes with the same values. Says whether it was fast."""
    raw = jsontext.require_utf8(text.encode())
    fast = decoder.decode(raw)
    if fast is None:
        return False
    try:
        by_schema, kept = decoder.explain(raw)
    except (Invalid, Unreadable) as error:
        raise AssertionError(f"decoded fast, but the schema refuses {text}") from error
    assert text == kept
    assert repr(plain(by_schema, decoder.schema)) == repr(plain(fast, decoder.schema))
    return True
