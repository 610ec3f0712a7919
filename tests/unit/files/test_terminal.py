import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.files.terminal.screen import shown


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


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "\x1b[0;31mred\x1b[0m"),
        ("a\x1b[1;91mb\x1b[22mc\x1b[39md", "a\x1b[0;1;91mb\x1b[0;91mc\x1b[0md"),
        ("\x1b[32mnever reset", "\x1b[0;32mnever reset\x1b[0m"),
        ("\x1b[44;37mbadge\x1b[m", "\x1b[0;37;44mbadge\x1b[0m"),
        ("\x1b[38;5;9mx\x1b[38;5;2my", "\x1b[0;91mx\x1b[0;32my\x1b[0m"),
        ("\x1b[38;5;196mred\x1b[48;5;21mblue", "\x1b[0;31mred\x1b[0;31;44mblue\x1b[0m"),
        ("\x1b[38;2;0;200;0mgreen\x1b[48;5;250mgrey", "\x1b[0;32mgreen\x1b[0;32;47mgrey\x1b[0m"),
        ("\x1b[38;2;255;255;255mw\x1b[38;5;16mb", "\x1b[0;97mw\x1b[0;30mb\x1b[0m"),
        ("\x1b[31m10%\x1b[0m\r\x1b[32m20%\x1b[0m", "\x1b[0;32m20%\x1b[0m"),
        ("\x1b[31mlong red\r\x1b[32mab", "\x1b[0;32mab\x1b[0;31mng red\x1b[0m"),
        ("\x1b[33m진행\x1b[0m 9", "\x1b[0;33m진행\x1b[0m 9"),
        ("\x1b[>4;2m\x1b[4:3m\x1b[999m\x1b[mplain", "plain"),
        ("\x1b[38;5mx\x1b[38mx\x1b[48;9mx", "xxx"),
        ("\x1b]8;;http://host\x1b\\link\x1b]8;;\x1b\\", "link"),
    ],
)
def test_colours_are_kept_on_request(printed, seen):
    assert shown(printed.encode(), colours=True).decode() == seen


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

    coloured = shown(line, colours=True)
    assert shown(coloured, colours=True) == coloured
    assert shown(coloured) == seen


@given(st.lists(st.integers(0, 999), max_size=40))
def test_any_codes_become_few(codes):
    line = f"\x1b[{';'.join(map(str, codes))}mx".encode()

    assert re.fullmatch(rb"(\x1b\[0(;[1-9]\d{0,2}){1,7}m)?x(\x1b\[0m)?", shown(line, colours=True))


def test_colours_of_a_line_are_bounded():
    line = b"".join(b"\x1b[%dmx" % (31 + number % 2) for number in range(11_000))

    assert len(shown(line, colours=True)) < 3 * len(line)
    assert len(shown(b"\x1b[" + b"1;" * 30_000 + b"mx", colours=True)) < 20


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
