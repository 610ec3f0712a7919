"""What the commands print."""

import argparse

import pytest

from hello_flask.command.common import pair
from hello_flask.command.completion import script
from hello_flask.command.main import make_parser
from hello_flask.command.terminal import Terminal, bar, clean, size_text, value_text, width


def test_table_with_wide_characters(capsys):
    Terminal().table(("experiment_id", "metrics.loss.min"), [("실험-1", 0.1234567), ("a", None)])

    assert capsys.readouterr().out.splitlines() == [
        "EXPERIMENT ID  metrics.loss.min",
        "실험-1         0.123457",
        "a              -",
    ]


def test_no_colour_and_no_state_in_a_pipe(capsys):
    terminal = Terminal()
    terminal.state("running [####]")
    terminal.table(("status",), [("failed",)])

    assert capsys.readouterr() == ("STATUS\nfailed\n", "")


@pytest.mark.parametrize(
    ("text", "shown"), [("a\x1b[31mb", "a?[31mb"), ("a\rb\x9bc", "a?b?c"), ("한\tb", "한\tb")]
)
def test_a_server_cannot_write_to_the_terminal(text, shown):
    assert clean(text) == shown


def test_sizes_and_bars():
    assert [size_text(size) for size in (0, 1023, 1024, 5 * 2**20, 3 * 2**40)] == [
        "0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3072.0 GiB"
    ]  # fmt: skip
    assert bar(5, 20) == "[#####---------------]"
    assert bar(50, 20) == "[####################]"
    assert bar(1, 0) == bar(1, None) == ""
    assert width("e\u0301") == 1
    assert value_text({"a": True}) == '{"a": true}'


def test_parameter():
    assert pair("a=b=c") == ("a", "b=c")
    assert pair("target=") == ("target", "")
    for text in ("a", "=b", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is not NAME=VALUE"):
            pair(text)


def test_error_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        make_parser("hello-flask").parse_args(["submit", "-p", "x"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("see hello-flask submit --help")


def test_completion_knows_every_command():
    text = script("bash", make_parser("hello-flask"), ("serve",))

    for line in ('"") COMPREPLY=($(compgen -W "serve ', '" data put") ', "--overwrite", "--follow"):
        assert line in text
    assert "bashcompinit" in script("zsh", make_parser("hello-flask"), ())
