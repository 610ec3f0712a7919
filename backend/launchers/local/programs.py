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
from backend.files.sizes import LARGE_PIECE_BYTES

DEFAULT_COMMAND = ("python", "-u", "./train.py")
OWN = "./"  # begins the words of a command that are paths in the model's folder
MAX_FILES = 200  # of a model's folder that are part of the digest
MAX_IMAGE = 1000  # characters

_Stamps = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class LocalProgram:
    """The program of an attempt.

    Attributes:
        command: what is executed; its first word is an absolute path.
        trainer: the file without which it cannot start.
        image: the command as the entry has it, and the digest of the files in the model's folder.
    """

    command: tuple[str, ...]
    trainer: str
    image: str


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
        if self._trainer and not attempt.program.command:
            folder, words = self._trainer.parent, (*DEFAULT_COMMAND[:2], OWN + self._trainer.name)
        command = [_located(word, folder) for word in words]
        own = [path for word, path in zip(words, command, strict=True) if word.startswith(OWN)]
        if words[0] in ("python", "python3"):
            command[0] = sys.executable  # the environment in which the server runs has PyTorch
        elif not words[0].startswith(OWN):
            command[0] = shutil.which(words[0]) or words[0]
        image = f"{shlex.join(words)} sha256:{self._digest(folder)}"
        return LocalProgram(tuple(command), own[0] if own else command[0], image[:MAX_IMAGE])

    def _digest(self, folder: Path) -> str:
        """Return the digest of names and contents of the files directly in a folder."""
        stamps = _stamps(folder)
        known, digest = self._digests.get(folder, (None, ""))
        if stamps != known:
            digest = _digest(folder, [name for name, *_ in stamps])
            self._digests[folder] = stamps, digest
        return digest


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
