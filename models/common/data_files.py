"""Finds the files of a data set, and checks that they are the expected ones. Standard library."""

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from common.exceptions import InputChangedError, UnusableError

SUFFIXES = (".csv", ".npy", ".npz")


def sha256_of(path: Path, expected: str | None) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal.

    Raises:
        InputChangedError: It is not the expected one.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if expected not in (None, digest):
        raise _changed(path)
    return digest


def _changed(path: Path) -> InputChangedError:
    return InputChangedError(
        f"{path.name} has changed since this experiment began with it: put the file back, "
        "or submit a new experiment"
    )


def check_sizes(paths: Sequence[Path], sizes: Sequence[int]) -> None:
    """Check that files have these sizes, without reading them; no sizes, no check.

    Raises:
        InputChangedError: One of them has another size.
    """
    for path, size in zip(paths, sizes, strict=False):
        if path.stat().st_size != size:
            raise _changed(path)


def same_files(folder: Path, names: list[str]) -> list[Path]:
    """Return the paths of data files, in the order of `names`.

    Raises:
        InputChangedError: One of them is missing.
        UnusableError: There is no input folder, or one of them is a link out of it.
    """
    found = _found(folder)
    paths = [_named(name, found) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        raise InputChangedError(
            f"{', '.join(missing)} is gone from the input folder, and this experiment began with "
            "it: put the file back, or submit a new experiment"
        )
    return _without_links_out(folder, [path for path in paths if path is not None])


def _named(name: str, paths: list[Path]) -> Path | None:
    """Return the path of this name, or else one whose name looks the same, or None.

    macOS writes names decomposed (Unicode's NFD), and other systems composed (NFC).
    """
    same = [path for path in paths if path.name == name]
    form = unicodedata.normalize("NFC", name)
    alike = [path for path in paths if unicodedata.normalize("NFC", path.name) == form]
    return next(iter(same + alike), None)


def data_files(folder: Path, name: str | None) -> list[Path]:
    """Return the path of the data file `name`, or of all data files in the order of their names.

    Raises:
        UnusableError: There are none, or one of them is a link out of the folder.
    """
    found = _found(folder)
    if name is not None:
        available = ", ".join(path.name for path in found) or "none"
        path = _named(name, found)
        found = [path] if path else []
        if not found:
            raise UnusableError(
                f"no data: the input folder has no data file {name!r}, choose from: {available}"
            )
    if not found:
        raise UnusableError(f"no data: no {', '.join(SUFFIXES)} file in {folder}")
    return _without_links_out(folder, found)


def _found(folder: Path) -> list[Path]:
    """Return the paths of all data files, in the order of their names."""
    if not folder.is_dir():
        raise UnusableError(f"no data: the input folder {folder} does not exist")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def _without_links_out(folder: Path, paths: list[Path]) -> list[Path]:
    """Return the paths, none of which may be a link to a file outside the folder."""
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnusableError(f"{path.name} is a link to a file outside the input folder")
    return paths
