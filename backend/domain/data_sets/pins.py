"""Which files an experiment uses: how they are chosen, and as what they are pinned. Pure."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

EVERY = "*"  # chooses every file, as no choice does
MAX_CHOICE = 255  # characters of a choice as it is stored
MAX_PINS = 500  # more files than these are used as they are when the trainer starts
MAX_PINS_CHARACTERS = 200_000
MAX_NAME_BYTES = 255

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Pin(NamedTuple):
    """A file that an experiment uses, as it was at the submission."""

    name: str
    size: int
    sha256: str


def choice_text(names: Iterable[str]) -> str | None:
    """Return the choice of these files as it is stored: a name, a JSON array, or None for all.

    A name of a data set never ends with a bracket. The order does not matter: files are read in the
    order of their names.
    """
    chosen = sorted({name for name in names if name})
    if not chosen or EVERY in chosen:
        return None
    if len(chosen) == 1:
        return chosen[0]
    return json.dumps(chosen, ensure_ascii=False, separators=(",", ":"))


def chosen_names(choice: str | None) -> list[str]:
    """Return the names of the files that `choice_text` chose; none for every file."""
    if not choice:
        return []
    if choice.startswith("[") and choice.endswith("]"):
        try:
            names = json.loads(choice)
        except ValueError:
            return [choice]
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return [choice]


def choice_label(choice: str | None, pins: str | None = None) -> str:
    """Return a choice as people read it, such as `every file (3)`."""
    if choice:
        return ", ".join(chosen_names(choice))
    return f"every file ({len(pins_from_text(pins))})" if pins else "every file"


def pins_to_text(pins: Sequence[Pin]) -> str | None:
    """Return pins as they are stored; None if there are too many to be stored, or none."""
    text = json.dumps([pin._asdict() for pin in pins], ensure_ascii=False, separators=(",", ":"))
    fits = 0 < len(pins) <= MAX_PINS and len(text) <= MAX_PINS_CHARACTERS
    return text if fits else None


def pins_from_text(text: str | None) -> list[Pin]:
    """Return the pins that `pins_to_text` returned."""
    return [Pin(**one) for one in json.loads(text)] if text else []


def pins_from_json(value: Any) -> str | None:
    """Return the pins of a run.json, to which a trainer can write, as they are stored.

    Raises:
        ValueError: they are not a list of files with size and digest.
    """
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError("its inputs are not a list of files")
    pins = []
    for one in value:
        pin = Pin(one["name"], one["size"], one["sha256"])
        is_name = isinstance(pin.name, str) and 0 < len(pin.name.encode()) <= MAX_NAME_BYTES
        if not is_name or "/" in pin.name or "\0" in pin.name:
            raise ValueError("its inputs hold something that is no file name")
        if type(pin.size) is not int or not 0 <= pin.size < 2**63:
            raise ValueError("its inputs hold something that is no size")
        if not isinstance(pin.sha256, str) or not _SHA256.fullmatch(pin.sha256):
            raise ValueError("its inputs hold something that is no digest")
        pins.append(pin)
    if len({pin.name for pin in pins}) < len(pins):
        raise ValueError("its inputs name a file twice")
    text = pins_to_text(pins)
    if text is None:
        raise ValueError("its inputs are too many")
    return text


def is_sha256(text: str) -> bool:
    """Return whether a text is a SHA-256 digest in hexadecimal."""
    return _SHA256.fullmatch(text) is not None
