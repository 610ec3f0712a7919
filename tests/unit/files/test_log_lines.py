import pytest

from backend.files import log_lines
from backend.files.log_lines import MAX_LINE_BYTES, bounded, last, numbered, split, stands_for


def lines(text, number=100):
    return [b"%s %d" % (text, index) for index in range(number)]


@pytest.mark.parametrize(
    "pieces", [[b"a\nb\r\n\nc"], [b"a", b"\nb\r", b"\n", b"\n", b"c"], [b"a\n", b"b\r\n\nc"]]
)
def test_split_at_newlines_only(pieces):
    assert list(split(pieces)) == [b"a", b"b\r", b"", b"c"]


def test_final_newline_adds_no_line():
    assert list(split([b"a\n"])) == [b"a"]
    assert list(split([])) == []


@pytest.mark.parametrize("piece", [1000, MAX_LINE_BYTES, 3 * MAX_LINE_BYTES])
def test_endless_line_is_truncated(piece):
    text = b"a\n" + b"b" * 5 * MAX_LINE_BYTES + b"\nc\n" + b"d" * 2 * MAX_LINE_BYTES
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]

    assert list(split(pieces)) == [b"a", b"b" * MAX_LINE_BYTES, b"c", b"d" * MAX_LINE_BYTES]


def test_tail_is_bounded(monkeypatch):
    assert list(last(lines(b"line"), 2)) == [b"line 98", b"line 99"]
    assert list(last(lines(b"line"), 0)) == []
    monkeypatch.setattr(log_lines, "MAX_TAIL_BYTES", 20)
    assert list(last(lines(b"line"), 10)) == [b"line 98", b"line 99"]


def test_bounded_keeps_line_numbers():
    """Head and tail of a long log are kept, and every line keeps its number."""
    kept = list(numbered(bounded(lines(b"line"), 200)))

    assert kept[0] == (1, b"line 0")
    assert kept[-1] == (100, b"line 99")
    marks = [(number, line) for number, line in kept if stands_for(line) > 1]
    assert len(marks) == 1
    assert b"lines are left out (LOG_MAX_BYTES)" in marks[0][1]
    assert all(line == b"line %d" % (number - 1) for number, line in kept if line != marks[0][1])
    assert sum(len(line) + 1 for _, line in kept) < 300


def test_bounding_twice_keeps_numbers():
    once = list(bounded(lines(b"line"), 400))
    twice = list(numbered(bounded([*once, *lines(b"more")], 200)))

    assert twice[-1] == (200, b"more 99")


@pytest.mark.parametrize("more", [20, 1000])
def test_short_log_is_kept_whole(more):
    whole = lines(b"line")
    size = sum(len(line) + 1 for line in whole)

    assert list(bounded(whole, size + more)) == whole
