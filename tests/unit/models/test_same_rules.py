"""The backend, which has no NumPy, judges files as the models do."""

import codecs
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.domain.data_sets.fitting import mismatch
from backend.files.data_sets.examination import digest, examine, look_at, rows_of
from common.dataset import read_dataset
from common.exceptions import UnusableError

DIGITS = Path(__file__).resolve().parents[3] / "input" / "digits.npz"
MANY = "1,2\n" * 12  # enough samples to be split
NUMBERS = np.arange(24.0).reshape(12, 2)


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 255 for byte in content[middle:-100]) + content[-100:]


CASES: dict[str, bytes] = {
    "plain.csv": MANY.encode(),
    "header.csv": f"a,b\n{MANY}".encode(),
    "bom.csv": codecs.BOM_UTF8 + MANY.encode(),
    "utf16.csv": f"a,b\n{MANY}".encode("utf-16"),
    "cp949.csv": f"가,나\n{MANY}".encode("cp949"),
    "latin.csv": b"\xff\xfea" + b"\xe9" * 9,
    "nul.csv": b"1,2\0\n",
    "empty.csv": b"",
    "blank.csv": b"\n\n",
    "header-only.csv": b"a,b\n",
    "label-only.csv": b"label\n" + b"1\n" * 12,
    "text-label.csv": b"a,b,kind\n" + b"1,2,x\n3,4,y\n" * 6,
    "text-first.csv": b"kind,b\n" + b"x,2\ny,4\n" * 6,
    "two-texts.csv": b"a,b,c\n" + b"1,u,x\n3,v,y\n" * 6,
    "last-text.csv": b"1,2,x\n3,4,y\n" * 6,
    "first-text.csv": b"1,x,2\n3,y,4\n" * 6,
    "ragged.csv": f"a,b\n{MANY}1\n".encode(),
    "long.csv": f"{MANY}1,2,3\n".encode(),
    "hole.csv": f"a,b,c\n{'1,2,3' * 1}\n1,,3\n".encode(),
    "nan.csv": f"a,b,c\n1,nan,2\n{'1,2,3' * 1}\n".encode(),
    "infinite.csv": f"a,b,c\n1,inf,2\n{'1,2,3' * 1}\n".encode(),
    "large.csv": f"a,b,c\n1,1e39,2\n{'1,2,3' * 1}\n".encode(),
    "underscore.csv": b"a,b,c\n1_0,2_0,1\n",
    "arabic.csv": "a,b,c\n١,٢,1\n".encode(),
    "semicolons.csv": b"a;b\n1;2\n",
    "tabs.csv": b"1\t2\n",
    "decimal-comma.csv": b'"1,5";"2,5"\n',
    "excel.csv": b"sep=;\n1;2\n",
    "quoted.csv": b'"a","b"\n' + b'"1","2"\n' * 12,
    "row-names.csv": b",a,b\n" + b"x,1,2\n" * 12,
    "numbered.csv": b"0,1,2\n" + b"5,6,7\n" * 12,
    "plain.npy": npy(NUMBERS),
    "float16.npy": npy(NUMBERS.astype(np.float16)),
    "big-endian.npy": npy(NUMBERS.astype(">f4")),
    "fortran.npy": npy(np.asfortranarray(NUMBERS)),
    "bool.npy": npy(NUMBERS > 3),
    "int.npy": npy(NUMBERS.astype(np.int64)),
    "long-double.npy": npy(NUMBERS.astype(np.longdouble)),
    "complex.npy": npy(NUMBERS.astype(complex)),
    "text.npy": npy(np.array([["a", "b"]] * 12)),
    "object.npy": npy(np.array([[{}]] * 12), allow_pickle=True),
    "records.npy": npy(np.zeros(12, dtype=[("a", "<f4")])),
    "list.npy": npy(np.arange(12.0)),
    "scalar.npy": npy(np.float64(3)),
    "no-rows.npy": npy(np.zeros((0, 4))),
    "no-columns.npy": npy(np.zeros((12, 0))),
    "nan.npy": npy(np.where(NUMBERS == 7, np.nan, NUMBERS)),
    "infinite.npy": npy(np.where(NUMBERS == 6, np.inf, NUMBERS).astype(np.float32)),
    "cut.npy": npy(NUMBERS)[:-1],
    "more.npy": npy(NUMBERS) + b"1",
    "magic.npy": b"\x93NUMPY",
    "header.npy": b"\x93NUMPY\x01\x00\x02\x00({",
    "nothing.npy": b"",
    "other.npy": b"hello",
    "archive.npy": npz(x=NUMBERS),
    "plain.npz": npz(x=NUMBERS, y=np.arange(12)),
    "compressed.npz": npz(np.savez_compressed, x=NUMBERS),
    "two.npz": npz(x_train=NUMBERS, x_test=NUMBERS),
    "mixed.npz": npz(x_train=NUMBERS, x_test=np.ones((12, 3))),
    "other-names.npz": npz(a=NUMBERS, b=NUMBERS),
    "only.npz": npz(a=NUMBERS),
    "object.npz": npz(x=np.array([[{}]] * 12)),
    "nan.npz": npz(x=np.full((12, 2), np.nan)),
    "damaged.npz": damaged(npz(np.savez_compressed, x=np.random.default_rng(0).random((99, 99)))),
    "none.npz": b"PK\5\6" + bytes(18),
    "text.npz": b"hello",
    "digits.npz": DIGITS.read_bytes(),
}


def put(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(CASES[name])
    return path


def is_readable(folder: Path, targets: list[str | None]) -> bool:
    """Return whether a model can read the file of the folder; too few samples do not count."""
    for target in targets:
        try:
            read_dataset(folder, target=target)
        except UnusableError as error:
            if "too few to split" not in str(error):
                continue
        return True
    return False


@pytest.mark.parametrize("name", CASES)
def test_same_verdict(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name)
    with path.open("rb", buffering=0) as file:
        content = examine(name, file)
        look = look_at(name, file)
        rows_of(name, file)
    assert content is not None
    assert (content.fault is None) == is_readable(tmp_path, [None, "", "kind"]), content.fault
    if content.fault is None and not content.label:
        assert is_readable(tmp_path, [None])
        assert mismatch({name: look}, None) is None


@pytest.mark.parametrize(
    ("name", "words", "line", "column"),
    [
        ("hole.csv", "the cell is empty", 3, "b"),
        ("ragged.csv", "line 14 has 1", 14, None),
        ("two-texts.csv", "could not convert string 'u'", 2, "b"),
        ("large.csv", "too large for float32", 2, "b"),
        ("nan.npy", "sample 3 (counted from 0) holds NaN", None, None),
        ("damaged.npz", "damaged", None, None),
    ],
)
def test_place_of_a_fault(
    tmp_path: Path, name: str, words: str, line: int | None, column: str | None
) -> None:
    with put(tmp_path, name).open("rb", buffering=0) as file:
        content = examine(name, file)
    assert content is not None
    assert content.fault is not None
    assert words in content.fault.message
    assert (content.fault.line, content.fault.column) == (line, column)


def test_mistake_in_a_number_is_no_label(tmp_path: Path) -> None:
    """A model with labels could read the column as such, but nobody means that."""
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3,x\n")
    with path.open("rb", buffering=0) as file:
        content = examine("a.csv", file)
    assert content is not None
    assert content.fault is not None
    assert (content.fault.line, content.fault.column) == (3, "b")


def test_statistics(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,target\n-1,2.5,x\n3,,y\n")
    with path.open("rb", buffering=0) as file:
        content = examine("a.csv", file)
        assert rows_of("a.csv", file) == [["-1", "2.5", "x"], ["3", "", "y"]]
        assert len(digest(file)) == 64
    assert content is not None
    assert content.shape == (2, 3)
    assert [
        (one.name, one.type, one.minimum, one.maximum, one.missing) for one in content.columns
    ] == [
        ("a", "number", -1, 3, 0),
        ("b", "number", 2.5, 2.5, 1),
        ("target", "text", None, None, 0),
    ]


def test_columns_of_an_array(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[1.0, -5.0], [2.0, 7.0]]))
    with path.open("rb", buffering=0) as file:
        content = examine("a.npy", file)
        assert rows_of("a.npy", file) == [["1", "-5"], ["2", "7"]]
    assert content is not None
    assert (content.dtype, content.minimum, content.maximum) == ("float64", -5, 7)
    assert [(one.minimum, one.maximum) for one in content.columns] == [(1, 2), (-5, 7)]


def test_lines_that_are_too_long_are_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1" + ",1" * 600_000)
    with path.open("rb", buffering=0) as file:
        assert examine("a.csv", file) is None
        assert look_at("a.csv", file).fault is None


def test_bomb_is_not_expanded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    with path.open("rb", buffering=0) as file:
        content = examine("a.npz", file)
    assert content is not None
    assert content.fault is not None
    assert "expand" in content.fault.message
