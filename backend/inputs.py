"""The input folder, which all runs share."""

from pathlib import Path

from backend.refusals import UnknownDataset

DATA_SUFFIXES = (".npz", ".npy", ".csv")


class Inputs:
    """The data sets in the input folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """Name every data set, sorted; none if the folder cannot be read."""
        try:
            return sorted(path.name for path in self._root.iterdir() if _is_data(path))
        except OSError:
            return []

    def check(self, name: str | None) -> None:
        """Make sure that there is a data set of that name; None stands for all of them.

        Raises:
            UnknownDataset: there is none.
        """
        if name is not None and name not in (names := self.names()):
            raise UnknownDataset(name, names)


def _is_data(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in DATA_SUFFIXES and not hidden and path.is_file()
