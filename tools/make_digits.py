"""Create input/digits.npz from the copy of the data set that comes with scikit-learn.

Requires scikit-learn. The file is reproducible: the same data results in the same bytes.
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
    """Write the images `x`, shape (1797, 8, 8), values 0 to 16, and their digits `y`."""
    shipped = resources.files("sklearn.datasets.data") / "digits.csv.gz"
    table = np.loadtxt(
        io.BytesIO(gzip.decompress(shipped.read_bytes())), delimiter=",", dtype=np.uint8
    )
    arrays = {"x": table[:, :64].reshape(-1, 8, 8).copy(), "y": table[:, 64].copy()}
    # numpy.savez would store the time of day, and compressed bytes depend on the version of zlib.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", OLDEST_ZIP_TIME), content.getvalue())


if __name__ == "__main__":
    make_digits(TARGET)
