"""Reads a command line of the client, carries it out, and reports what went wrong in one line."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from hello_flask.client import Client
from hello_flask.command import changing, completion, data, reading, submitting, sweeping
from hello_flask.command.terminal import Terminal
from hello_flask.errors import HelloFlaskError

UNUSABLE = 2
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell reports SIGINT and SIGPIPE
GROUPS = (
    submitting,
    reading,
    changing,
    data,
    sweeping,
)  # modules with commands, in the order of --help


def main(words: Sequence[str], roles: tuple[str, ...] = (), program: str = "hello-flask") -> int:
    """Carry out a command of the client.

    Args:
        words: of the command line, without the program.
        roles: the commands of the server, for completion.
        program: what the user typed.

    Returns:
        0; 1 if an experiment or sweep that was waited for, or one of several changes, has failed; 2
        if the command could not be carried out; 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8
    parser = make_parser(program)
    try:
        arguments = parser.parse_args(words)
        return _flushed(_run(arguments, parser, roles))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough. Python must not try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (HelloFlaskError, UnicodeEncodeError) as error:
        with suppress(BrokenPipeError):
            Terminal().note(f"error: {' '.join(str(error).split())}")
        return UNUSABLE


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"error: {message}; see {self.prog} --help\n")


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog=program,
        description="Commands of the client. `hello-flask --help` lists those of the server too.",
        epilog="The server is HELLO_FLASK_URL (http://127.0.0.1:31112), the token "
        "HELLO_FLASK_TOKEN; or both are in ~/.config/hello-flask/config.toml (docs/cli.md).",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in GROUPS:
        group.register(commands)
    about = "print a script that completes commands in a shell"
    shells = commands.add_parser("completion", help=about, description=about)
    shells.add_argument("shell", choices=completion.SHELLS)
    return parser


def _run(
    arguments: argparse.Namespace, parser: argparse.ArgumentParser, roles: tuple[str, ...]
) -> int:
    if "shell" in arguments:
        sys.stdout.write(completion.script(arguments.shell, parser, roles))
        return 0
    client = Client(arguments.url)
    code: int = arguments.run(client, arguments, Terminal(as_json=arguments.json))
    return code


def _flushed(code: int) -> int:
    """Write what is left of the output now, where a broken pipe is noticed."""
    sys.stdout.flush()
    return code
