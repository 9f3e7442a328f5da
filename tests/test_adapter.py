"""What a request turned out to hold."""

from gateway import adapter
from gateway.adapter import ParseResult, Rejected
from schemas import Problem
from tests.records import make_record


def rejected(at: int | None, raw: bytes) -> Rejected:
    return Rejected(at, [Problem("id", "Missing."), Problem("", "Wrong.")], raw)


def filled(*raws: bytes) -> ParseResult:
    result = ParseResult([make_record()], [])
    for at, raw in enumerate(raws):
        result.reject(rejected(at, raw))
    return result


def test_the_problems_of_an_element_have_paths_from_the_top_of_the_document():
    assert ["[7].id", "[7]"] == [p.path for p in rejected(7, b"{}").absolute_problems()]
    assert ["id", ""] == [p.path for p in rejected(None, b"{}").absolute_problems()]


def test_each_text_is_held_once_and_every_element_is_counted():
    result = filled(b"1", b"2", b"1", b"1")

    assert [(0, b"1"), (1, b"2")] == [(one.position, one.raw) for one in result.rejected]
    assert 4 == result.rejections


def test_records_and_rejected_elements_are_counted_together():
    result = filled(b"1", b"2", b"2")

    assert (3, 4) == (result.rejections, result.elements)


def test_beyond_a_limit_rejected_elements_are_only_counted(monkeypatch):
    monkeypatch.setattr(adapter, "MAX_REJECTED", 3)
    result = filled(*(b"%d" % at for at in range(7)))

    assert [0, 1, 2] == [one.position for one in result.rejected]
    assert 7 == result.rejections
