"""Make input/digits.npz from the copy of the data set that scikit-learn ships.

Needs scikit-learn. The output is reproducible byte by byte, at any time and on any machine.
"""

import gzip
import io
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "input" / "digits.npz"
OLDEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def make_digits(target: Path) -> None:
    """Write `x`, images of shape (1797, 8, 8) from 0 to 16, and `y`, the digits that they show."""
    shipped = resources.files("sklearn.datasets.data") / "digits.csv.gz"
    table = np.loadtxt(
        io.BytesIO(gzip.decompress(shipped.read_bytes())), delimiter=",", dtype=np.uint8
    )
    arrays = {"x": table[:, :64].reshape(-1, 8, 8).copy(), "y": table[:, 64].copy()}
    # Not numpy.savez, which writes the time; not compressed, which differs between zlib versions.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", OLDEST_ZIP_TIME), content.getvalue())


if __name__ == "__main__":
    make_digits(TARGET)
