import pytest

from backend.files import log_lines
from backend.files.log_lines import (
    MAX_LINE_BYTES,
    BoundedText,
    batches,
    bounded,
    count_lines,
    last,
    marker,
    numbered,
    split,
    stands_for,
)


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


@pytest.mark.parametrize("piece", [1, 20, 10_000])
def test_tail_is_bounded(monkeypatch, piece):
    def tail(number):
        return [line for batch in last(batches(lines(b"line")), number) for line in batch]

    monkeypatch.setattr(log_lines, "PIECE_BYTES", piece)
    assert tail(2) == [b"line 98", b"line 99"]
    assert tail(0) == []
    assert tail(1000) == list(lines(b"line"))
    monkeypatch.setattr(log_lines, "MAX_TAIL_BYTES", 50)
    assert tail(100) == [] if piece == 10_000 else tail(100)[-1] == b"line 99"
    assert len(tail(100)) < 10


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


def test_order_of_bounded_lines():
    """A line that is too long does not let later ones pass it."""
    kept = list(bounded([b"loading data", b"x" * MAX_LINE_BYTES, b"done"], 20_000))

    assert kept == [b"loading data", b"... 1 lines are left out (LOG_MAX_BYTES) ...", b"done"]


def test_end_of_last_line_is_kept():
    last_line = b"x" * MAX_LINE_BYTES + "ValueError: 끝".encode()
    kept = list(bounded([b"loading data", last_line], 200))

    assert kept[0] == b"loading data"
    assert len(kept) == 2
    assert kept[1].endswith("ValueError: 끝".encode())
    assert len(kept[1]) <= 100


@pytest.mark.parametrize("size", [1000, MAX_LINE_BYTES, 5 * MAX_LINE_BYTES])
def test_both_ends_of_long_line_are_kept(size):
    """Of a line that is too long, begin and end are kept, and of a bar its last state."""
    bar = b"2026-01-01T00:00:00.0Z " + b"".join(b"\r%06d of 099999" % n for n in range(100_000))
    pieces = [bar[at : at + size] for at in range(0, len(bar), size)]
    (line,) = split([*pieces, b"\n"])

    assert len(line) <= MAX_LINE_BYTES
    assert line.startswith(b"2026-01-01T00:00:00.0Z \r000000 of")
    assert line.endswith(b"\r099998 of 099999\r099999 of 099999")


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_count_of_lines(size):
    text = b"\n".join([b"a", b"", marker(17), b"... not a marker", b"x" * 500, marker(3)])
    for end in (b"", b"\n", b"\nrest"):
        pieces = [(text + end)[at : at + size] for at in range(0, len(text + end), size)]
        assert sum(count_lines(pieces)) == sum(map(stands_for, split(pieces)))


def test_text_in_memory_is_bounded():
    """Of a log of any length, the first and last lines are held, and the others counted."""
    text = BoundedText(10_000)
    for number in range(1000):
        text.add([b"%d %d" % (number, each) for each in range(50)])
    kept = list(text)

    assert sum(map(stands_for, kept)) == 50_000
    assert sum(len(line) + 1 for line in kept) < 12_000
    assert (kept[0], kept[-1]) == (b"0 0", b"999 49")
    assert len(text) == len(kept)


def test_short_text_is_whole():
    text = BoundedText(10_000)
    text.add([])
    text.add([b"a", b"", b"b"])
    text.add([b"c\rd"])

    assert list(text) == [b"a", b"", b"b", b"c\rd"]
    assert len(text) == 4
