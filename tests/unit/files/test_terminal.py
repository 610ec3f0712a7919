import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.files.terminal import shown


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("", ""),
        ("plain 한글 text \t", "plain 한글 text \t"),
        ("windows\r", "windows"),
        ("10%\r20%\r30%", "30%"),
        ("downloading\rdone", "doneloading"),
        ("downloading\rdone       ", "done"),
        ("downloading\r\x1b[Kdone", "done"),
        ("downloading\x1b[2K\rdone", "done"),
        ("downloading\x1b[1Gdone\x1b[0K", "done"),
        ("진행 9%\r진행 10%", "진행 10%"),
        ("진행\rabcd", "abcd"),
        ("abc\b\bX", "aXc"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;38;5;196mred\x1b[m \x1b[?25lhidden cursor", "red hidden cursor"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://host\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Btext\x1b=", "text"),
        ("\x9b31mred", "red"),
        ("cut off \x1b[3", "cut off "),
        ("cut off \x1b", "cut off "),
        ("a\x1b[3Cb", "a   b"),
    ],
)
def test_shown_as_by_a_terminal(printed, seen):
    assert shown(printed.encode()).decode() == seen


def test_bytes_that_are_not_utf8_are_kept():
    assert shown(b"\xff\x1b[31m\xfe") == b"\xff\xfe"


def test_progress_bar_is_its_last_state():
    states = [f"epoch: {n}/3000 [{'█' * (n // 75):40}] loss={1 / (n + 1):.4f}" for n in range(3001)]

    assert shown("".join("\r" + state for state in states).encode()).decode() == states[-1]


@given(st.binary(max_size=300))
def test_any_bytes_are_shown(line):
    seen = shown(line)

    assert b"\x1b" not in seen
    assert b"\r" not in seen
    assert shown(seen) == seen


@pytest.mark.parametrize(
    "line", [b"\x1b]", b"\x1b[", b"\x1b[65535C", b"a\x1b[999999C", b"\x1bP\r", b"x\r"]
)
def test_screen_is_bounded(line):
    assert len(shown(line * 10_000)) <= 2 * 64 * 1024


@pytest.mark.parametrize(
    "line",
    [
        b"\x1b[65535Cx",
        b"\x1b[65535Gx",
        b"\x1b[999999C" * 10 + b"x",
        b"a" * 60_000 + b"\x1b[2Kx",  # the cursor stays where the text ended
        b"a" * 60_000 + b"\x1b[2K\x1b[999999Cx",
    ],
)
def test_few_bytes_fill_few_columns(line):
    assert len(shown(line)) <= 2000


def test_long_text_is_continued_at_its_end():
    text = b"a" * 5000

    assert shown(text + b"\x1b[5Cx" + text) == text + b"x" + text
