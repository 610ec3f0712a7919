"""What a local attempt executes: the command of its model, found in the model's folder."""

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.domain.attempt import Attempt
from backend.domain.execution.keys import script_position
from backend.files.sizes import LARGE_PIECE_BYTES
from backend.launchers.local.warm_start import is_passed_on

DEFAULT_COMMAND = ("python", "-u", "./train.py")
OWN = "./"  # begins the words of a command that are paths in the model's folder
MAX_FILES = 200  # of a model's folder that are part of the digest
MAX_IMAGE = 1000  # characters
KEY_DIGITS = 16  # of a warm server

_Stamps = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class LocalProgram:
    """The program of an attempt.

    Attributes:
        command: what is executed; its first word is an absolute path.
        trainer: the file without which it cannot start.
        image: the command as the entry has it, and the digest of the files in the model's folder.
        warm: what `warm_start.py` needs to find a warm server; empty without one.
    """

    command: tuple[str, ...]
    trainer: str
    image: str
    warm: str = ""


class LocalPrograms:
    """Finds programs, and remembers the digests of folders whose files have not changed."""

    def __init__(self, folder_of: Callable[[str], Path], trainer: Path | None = None) -> None:
        """Find models with `folder_of`; execute `trainer` for models without a command."""
        self._folder_of, self._trainer = folder_of, trainer
        self._digests: dict[Path, tuple[_Stamps, str]] = {}

    def find(self, attempt: Attempt) -> LocalProgram:
        """Return the program of an attempt, whether it exists or not."""
        words = attempt.program.command or DEFAULT_COMMAND
        folder = self._folder_of(attempt.model)
        preload = attempt.program.preload
        if self._trainer and not attempt.program.command:
            preload = ()  # those of another program
            folder, words = self._trainer.parent, (*DEFAULT_COMMAND[:2], OWN + self._trainer.name)
        command = [_located(word, folder) for word in words]
        own = [path for word, path in zip(words, command, strict=True) if word.startswith(OWN)]
        if words[0] in ("python", "python3"):
            command[0] = sys.executable  # the environment in which the server runs has PyTorch
        elif not words[0].startswith(OWN):
            command[0] = shutil.which(words[0]) or words[0]
        image = f"{shlex.join(words)} sha256:{self._digest(folder)}"
        trainer = own[0] if own else command[0]
        warm = _warm(command[0], words, preload)
        return LocalProgram(tuple(command), trainer, image[:MAX_IMAGE], warm)

    def _digest(self, folder: Path) -> str:
        """Return the digest of names and contents of the files directly in a folder."""
        stamps = _stamps(folder)
        known, digest = self._digests.get(folder, (None, ""))
        if stamps != known:
            digest = _digest(folder, [name for name, *_ in stamps])
            self._digests[folder] = stamps, digest
        return digest


def inherited() -> dict[str, str]:
    """Return the variables of this process that trainers get; the others may be secrets."""
    return {name: value for name, value in os.environ.items() if is_passed_on(name)}


def _warm(interpreter: str, words: Sequence[str], preload: Sequence[str]) -> str:
    """Return the key of the warm server of a command, and the modules; "" if there is none."""
    position = script_position(words)
    if not preload or position is None or sys.platform != "linux":  # macOS: a fork is not safe
        return ""
    parts = (interpreter, *words[1:position], *preload, *sorted(map("=".join, inherited().items())))
    key = hashlib.sha256(ascii(parts).encode()).hexdigest()[:KEY_DIGITS]
    return f"{key} {','.join(preload)}"


def _located(word: str, folder: Path) -> str:
    return str(folder / word.removeprefix(OWN)) if word.startswith(OWN) else word


def _stamps(folder: Path) -> _Stamps:
    stamps = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file():
                    found = entry.stat()
                    stamps.append((entry.name, found.st_ino, found.st_mtime_ns, found.st_size))
    except OSError:  # the folder is missing: the trainer cannot be started either
        return ()
    return tuple(sorted(stamps)[:MAX_FILES])


def _digest(folder: Path, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                content = hashlib.sha256()
                while piece := file.read(LARGE_PIECE_BYTES):
                    content.update(piece)
        except OSError:
            continue
        digest.update(f"{content.hexdigest()}  {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
