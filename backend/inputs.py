"""The input folder, which all runs share."""

from pathlib import Path

DATA_SUFFIXES = (".npz", ".npy", ".csv")


class Inputs:
    """The data sets in the input folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """Name every data set, sorted.

        Raises:
            OSError: the input folder cannot be read.
        """
        return sorted(
            path.name
            for path in self._root.iterdir()
            if path.suffix.lower() in DATA_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
        )
