"""Reads the catalogue of models from folders: `<name>/model.yaml`, or `<name>.yaml`.

The second form is that of a mounted ConfigMap, whose keys hold no slash and whose files are links.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.domain.catalogue import (
    AUTOENCODER,
    MODEL_NAME,
    Catalogue,
    Entry,
    InvalidEntry,
)
from backend.files.catalogue.loader import load
from backend.settings import Settings

FILE = "model.yaml"
SUFFIX = ".yaml"
MAX_ENTRIES = 1000
_BACKEND = Path(__file__).parents[2]
# The wheel and the image have the models inside the package; in a checkout they are beside it.
BUILT_IN = (_BACKEND if (_BACKEND / "models").is_dir() else _BACKEND.parent) / "models"

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]  # inode, time of modification in ns, size


@dataclass(frozen=True)
class _File:
    """A file of the catalogue as it was read: the entry, or why there is none."""

    stamp: Stamp
    entry: Entry | None
    problem: str = ""


class CatalogueFiles:
    """The entries in several folders; those of later folders replace those of earlier ones.

    `current` compares inode, time and size of each file with those that were read, so a change is
    seen by the next request, without a restart. Safe to use from several threads.
    """

    def __init__(self, folders: Sequence[Path], *, need_image: bool = False) -> None:
        """Read from these folders.

        Args:
            folders: the later ones take precedence.
            need_image: whether an entry without an image is a mistake, because Jobs need one.
        """
        self._folders = tuple(dict.fromkeys(folders))
        self._need_image = need_image
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._seen: tuple[dict[str, Stamp], dict[str, str]] | None = None
        self._catalogue = Catalogue({}, {})

    def current(self) -> Catalogue:
        """Return the catalogue that the files describe now; log what is wrong with changed ones."""
        problems = dict[str, str]()  # of folders
        stamps = {
            path: stamp for folder in self._folders for path, stamp in _scan(folder, problems)
        }
        if (stamps, problems) == self._seen:
            return self._catalogue
        with self._lock:
            known, before = self._files, self._catalogue.problems
            self._files = {
                path: known[path]
                if path in known and known[path].stamp == stamp
                else self._read(path, stamp)
                for path, stamp in stamps.items()
            }
            self._catalogue = self._assembled(problems)
            self._seen = stamps, problems
            for name, problem in self._catalogue.problems.items():
                if before.get(name) != problem:
                    log.warning("The model %s cannot be used: %s", name, problem)
            return self._catalogue

    def find(self, name: str) -> tuple[Entry | None, str]:
        """Return a model's entry, or None and what is wrong with it; an empty text if unknown.

        Only the files of this model are checked for a change, so a submission costs the same
        however many models there are.
        """
        if not MODEL_NAME.fullmatch(name):
            return None, ""
        seen = self._seen[0] if self._seen else None
        paths = [
            path
            for folder in self._folders
            for path in (f"{folder}/{name}/{FILE}", f"{folder}/{name}{SUFFIX}")
        ]
        is_known = seen is not None and all(_stamp(path) == seen.get(path) for path in paths)
        catalogue = self._catalogue if is_known else self.current()
        return catalogue.entries.get(name), catalogue.problems.get(name, "")

    def folder_of(self, name: str) -> Path:
        """Return the folder of a model, in which its command is started; it may not exist."""
        folders = [folder / name for folder in reversed(self._folders)]
        return next((folder for folder in folders if folder.is_dir()), folders[-1])

    def _assembled(self, problems: Mapping[str, str]) -> Catalogue:
        entries = {AUTOENCODER: Entry.from_document(AUTOENCODER, {})}
        problems = dict(problems)
        sources = dict[str, str]()
        for path, file in self._files.items():
            name = _name_of(path)
            entries.pop(name, None)
            problems.pop(name, None)
            folder = _folder_of(path)
            if sources.get(name) == folder:
                problems[name] = f"There are both {name}/{FILE} and {name}{SUFFIX}: keep one."
            elif file.entry is None:
                problems[name] = f"{path.removeprefix(folder)[1:]}: {file.problem}"
            else:
                entries[name] = file.entry
            sources[name] = folder
        return Catalogue(dict(sorted(entries.items())), dict(sorted(problems.items())))

    def _read(self, path: str, stamp: Stamp) -> _File:
        try:
            entry = Entry.from_document(_name_of(path), load(path))
            self._check_image(entry)
            return _File(stamp, entry)
        except InvalidEntry as error:
            return _File(stamp, None, str(error))

    def _check_image(self, entry: Entry) -> None:
        if entry.name == AUTOENCODER and entry.image:
            raise InvalidEntry(["The image of autoencoder is AE_MODEL_IMAGE_URL: remove image."])
        if self._need_image and entry.name != AUTOENCODER and not entry.image:
            raise InvalidEntry(["It has no image: Kubernetes needs one."])


def catalogue_files(settings: Settings) -> CatalogueFiles:
    """Return the models of this program and those of MODELS_DIR, which take precedence."""
    folders = [BUILT_IN, *([settings.models_dir] if settings.models_dir else [])]
    return CatalogueFiles(folders, need_image=settings.launcher == "kubernetes")


def _scan(folder: Path, problems: dict[str, str]) -> Iterator[tuple[str, Stamp]]:
    """Yield path and stamp of each file of the catalogue in a folder, sorted by name."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError as error:
        problems[f"{folder.name}/"] = f"The folder cannot be read: {error.strerror}."
        return
    count = 0
    for name in names:
        path = f"{folder}/{name}" if name.endswith(SUFFIX) else f"{folder}/{name}/{FILE}"
        stamp = _stamp(path)
        if stamp and count == MAX_ENTRIES:
            problems[f"{folder.name}/"] = f"Only the first {MAX_ENTRIES} entries are used."
            return
        if stamp:
            count += 1
            yield path, stamp


def _stamp(path: str) -> Stamp | None:
    """Return what tells two versions of a file apart; None if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116  (a Path takes as long as the call itself)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _name_of(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return name.removesuffix(SUFFIX) if name != FILE else folder.rpartition("/")[2]


def _folder_of(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return folder if name != FILE else folder.rpartition("/")[0]
