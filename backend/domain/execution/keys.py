"""The keys of an entry that say how its trainers are started on one machine."""

import re
from collections.abc import Sequence
from typing import Any

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)  # of a model or a size
MAX_WORDS = 64  # of a command
MAX_WORD = 1000  # characters
MAX_MODULES = 32
MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}", re.ASCII)
PYTHON = ("python", "python3")
UNBUFFERED = "-u"  # the one option of the interpreter that an entry with `preload` may use


class InvalidKey(ValueError):
    """A value that a key cannot have; its text is a sentence that says what to write instead."""


def read_command(value: Any) -> tuple[str, ...]:
    """Return the words of a command, none for the default one.

    Raises:
        InvalidKey: it is not a list of words.
    """
    is_list = isinstance(value, list) and len(value) <= MAX_WORDS
    if not is_list or not all(isinstance(word, str) and _is_word(word) for word in value):
        raise InvalidKey(
            f"command must be a list of at most {MAX_WORDS} words, such as "
            "[python, -u, ./train.py]."
        )
    return tuple(value)


def read_preload(value: Any, command: Sequence[str]) -> tuple[str, ...]:
    """Return the modules that an entry lists as `preload`, each once.

    Args:
        value: what the entry has.
        command: its command; empty for the default one.

    Raises:
        InvalidKey: it is not a list of modules, or its command starts no script of Python.
    """
    is_list = isinstance(value, list) and len(value) <= MAX_MODULES
    if not is_list or not all(isinstance(one, str) and MODULE.fullmatch(one) for one in value):
        raise InvalidKey(
            f"preload must be a list of at most {MAX_MODULES} modules of Python, such as "
            "[torch, numpy]."
        )
    if value and command and script_position(command) is None:
        raise InvalidKey(
            "preload needs a command that starts a script of Python, such as "
            "[python, -u, ./train.py]: correct the command, or remove preload."
        )
    return tuple(dict.fromkeys(value))


def script_position(command: Sequence[str]) -> int | None:
    """Return the position of the script in a command of an entry; None if it starts none."""
    if not command or command[0] not in PYTHON:
        return None
    position = 2 if UNBUFFERED in command[1:2] else 1
    is_script = len(command) > position and not command[position].startswith("-")
    return position if is_script else None


def _is_word(word: str) -> bool:
    return 0 < len(word) <= MAX_WORD and "\0" not in word
