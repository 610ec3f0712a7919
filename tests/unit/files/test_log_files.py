import os

import pytest

from backend.files import log_files
from backend.files.log_files import LogFiles, skip_lines
from backend.files.log_lines import stands_for
from backend.files.outputs import Outputs

MAX_BYTES = 1000


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "first").mkdir()
    return tmp_path / "first"


@pytest.fixture
def files(folder):
    return LogFiles(Outputs(folder.parent))


def test_write_and_read(files, folder):
    files.write("first", 2, [b"one", "둘".encode()], MAX_BYTES)

    assert files.exists("first", 2)
    assert not files.exists("first", 1)
    assert (folder / "logs" / "2.log").read_text() == "one\n둘\n"
    assert list(files.lines("first", 2)) == [b"one", "둘".encode()]
    assert list(files.lines("first", 1)) == []


@pytest.mark.parametrize("text", ["", "one", "one\n", "one\n\ntwo", "\n\n", "하나\n둘\n셋\n넷\n"])
def test_tail_equals_end_of_whole(files, folder, monkeypatch, text):
    monkeypatch.setattr(log_files, "PIECE_BYTES", 3)
    (folder / "logs").mkdir()
    (folder / "logs" / "1.log").write_text(text)
    whole = list(files.lines("first", 1))

    for last in range(len(whole) + 2):
        assert list(files.lines("first", 1, last=last)) == whole[max(0, len(whole) - last) :]


def test_replaced_only_by_longer_log(files):
    files.write("first", 1, [b"a", b"b"], MAX_BYTES)
    for fewer in ([b"c"], [b"c", b"d"], []):
        files.write("first", 1, fewer, MAX_BYTES)
        assert list(files.lines("first", 1)) == [b"a", b"b"]

    files.write("first", 1, [b"a", b"b", b"c"], MAX_BYTES)

    assert list(files.lines("first", 1)) == [b"a", b"b", b"c"]


def test_no_temporary_file_remains(files, folder):
    files.write("first", 1, [b"a", b"b"], MAX_BYTES)
    files.write("first", 1, [b"a"], MAX_BYTES)

    assert [path.name for path in (folder / "logs").iterdir()] == ["1.log"]


def test_parts_are_sorted(files):
    for part in ("2026-b", "2025-a"):
        files.write("first", 1, [part.encode()], MAX_BYTES, part)
    files.write("first", 1, [b"whole"], MAX_BYTES)
    files.write("first", 11, [b"another attempt's"], MAX_BYTES, "2024-c")

    assert files.parts("first", 1) == ["2025-a", "2026-b"]
    assert list(files.lines("first", 1, "2025-a")) == [b"2025-a"]
    assert files.parts("first", 2) == []
    assert files.parts("none", 1) == []


def test_shorten_is_idempotent(files, folder):
    log = folder / "logs" / "1.log"
    log.parent.mkdir()
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(1000)))

    files.shorten("first", 1, MAX_BYTES)
    shortened = log.stat()
    files.shorten("first", 1, MAX_BYTES)

    assert shortened.st_size < MAX_BYTES + 100
    assert (log.stat().st_ino, log.stat().st_size) == (shortened.st_ino, shortened.st_size)
    assert log.read_bytes().startswith(b"line 0\n")
    assert log.read_bytes().endswith(b"line 999\n")


@pytest.mark.parametrize("planted", ["logs", "logs/1.log"])
def test_planted_link_not_followed(files, folder, tmp_path, planted):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.log").write_text("secret\n" * 1000)
    if planted == "logs":
        (folder / "logs").symlink_to(elsewhere)
    else:
        (folder / "logs").mkdir()
        (folder / "logs" / "1.log").symlink_to(elsewhere / "1.log")

    assert not files.exists("first", 1)
    assert list(files.lines("first", 1)) == []
    assert files.parts("first", 1) == []
    files.shorten("first", 1, MAX_BYTES)
    files.write("first", 1, [b"line"], MAX_BYTES)
    assert list(files.lines("first", 1)) == [b"line"]

    assert [path.name for path in elsewhere.iterdir()] == ["1.log"]
    assert (elsewhere / "1.log").read_text() == "secret\n" * 1000


def test_planted_pipe_does_not_block(files, folder):
    (folder / "logs").mkdir()
    os.mkfifo(folder / "logs" / "1.log")

    assert not files.exists("first", 1)
    assert list(files.lines("first", 1)) == []


def test_sparse_log_read_from_the_end(files, folder):
    """A sparse log of 4 TB is read from its end, not as a whole."""
    (folder / "logs").mkdir()
    with (folder / "logs" / "1.log").open("wb") as log:
        log.truncate(2**42)
        log.seek(0, os.SEEK_END)
        log.write(b"\nlast\n")

    assert list(files.lines("first", 1, last=1)) == [b"last"]
    assert list(files.lines("first", 1, last=5))[-1] == b"last"


def test_sparse_log_is_read_without_its_holes(files, folder):
    """A sparse log of 8 TB is read, followed, counted and shortened in a moment."""
    (folder / "logs").mkdir()
    with (folder / "logs" / "1.log").open("wb") as log:
        log.write(b"first\n")
        log.truncate(2**43)
        log.seek(0, os.SEEK_END)
        log.write(b"\nlast\n")

    assert next(files.lines("first", 1)) == b"first"
    assert list(files.lines("first", 1))[-1] == b"last"
    assert files.count("first", 1) == 3
    files.shorten("first", 1, MAX_BYTES)
    assert (folder / "logs" / "1.log").stat().st_size < MAX_BYTES + 100
    assert next(files.lines("first", 1)) == b"first"
    assert list(files.lines("first", 1))[-1] == b"last"


@pytest.mark.parametrize("longest", [1, 30, 700, 5000])
def test_shorten_keeps_order_and_numbers(files, folder, longest):
    """Head and tail are kept, the lines between are counted, whatever their length."""
    (folder / "logs").mkdir()
    whole = [b"%d %s" % (n, b"x" * (n * 7919 % longest)) for n in range(300)]
    (folder / "logs" / "1.log").write_bytes(b"\n".join([*whole, b"the last one"]))
    files.shorten("first", 1, MAX_BYTES)
    kept = list(files.lines("first", 1))
    marks = [line for line in kept if stands_for(line) > 1]

    assert sum(map(stands_for, kept)) == 301
    assert len(marks) == 1
    assert kept[-1] == b"the last one"
    before = kept[: kept.index(marks[0])]
    assert before == whole[: len(before)]


def test_shorten_keeps_end_of_last_line(files, folder):
    (folder / "logs").mkdir()
    (folder / "logs" / "1.log").write_bytes(b"a\nb\n" + b"x" * 5000 + b" ValueError: boom\n")
    files.shorten("first", 1, MAX_BYTES)
    kept = list(files.lines("first", 1))

    assert kept[:2] == [b"a", b"b"]
    assert len(kept) == 3
    assert kept[2].endswith(b"xxx ValueError: boom")


TEXTS = {
    "lines": b"".join(b"line %d\n" % number for number in range(3000)),
    "a long line": b"a\nb\n" + b"c" * 5000 + b"\nd\ne\n" * 500,
    "a marker": b"a\n" * 700 + b"... 40 lines are left out (LOG_MAX_BYTES) ...\n" + b"b\n" * 900,
    "holes": b"a\n" * 700 + bytes(5000) + b"\nb\n" + b"c\n" * 900,
    "no end": b"a\n" * 1000 + b"b",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [7, 100])
def test_skipped_lines_are_counted(folder, monkeypatch, text, size):
    """What is skipped is at most as long as asked, and the rest begins with the next line."""
    monkeypatch.setattr(log_files, "PIECE_BYTES", size)
    monkeypatch.setattr(log_files.read_piece, "__defaults__", (size,))
    monkeypatch.setattr(log_files, "SKIP_BYTES", 20 * size)
    (folder / "log").write_bytes(text)
    for lines in (0, 1, 699, 702, 10_000):
        with (folder / "log").open("rb", buffering=0) as file:
            left = lines
            while skipped := skip_lines(file, left):
                left -= skipped
            rest = file.read()
        expected = text.split(b"\n", lines - left)[-1] if lines - left else text
        assert rest == expected
        assert left >= 0
        if text == TEXTS["lines"]:
            assert left < 100 or lines > 3000
