"""CSV files as R, pandas and Excel write them: read as meant, or refused in words."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.csv_files import read_csv
from common.dataset import read_dataset
from tests.component.models.support import Trainer

Refusal = Callable[..., str]
NUMBERS = [[0.5 + row, 1.5 - row] for row in range(20)]
BODY = "".join(f"{first},{second}\n" for first, second in NUMBERS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The CSV file that a test writes."""
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ("0,1\n", "line 1 (0,1) is a header of column numbers, no sample"),
        ("a,b\n", None),
        ("\na,b\n", None),
        ('"a, or\nb","c"\n', None),
        ("", "has no header: line 1 is a sample"),
        ("\n\n", "has no header: line 3 is a sample"),
    ],
)
def test_header(path: Path, header: str, note: str | None) -> None:
    path.write_text(header + BODY)
    table = read_csv(path)
    assert table.values.tolist() == NUMBERS
    assert len(table.notes) == (note is not None)
    assert note is None or note in table.notes[0]


@pytest.mark.parametrize(
    ("content", "samples", "names"),
    [
        ("0,1\n1,0\n", 2, None),  # may be a sample, and then it is one
        ("0,1,2\n5,6,7\n", 1, ["0", "1", "2"]),
        ("0\n1.5\n", 1, ["0"]),
        ("0\n1\n", 2, None),
        ("0,1,label\n5,6,cat\n", 1, ["0", "1"]),
        (",0,1\n0,5,6\n", 1, ["0", "1"]),
        ('"","a","b"\n"Mazda RX4",1,2\n', 1, ["a", "b"]),
    ],
)
def test_header_of_numbers(path: Path, content: str, samples: int, names: list[str] | None) -> None:
    path.write_text(content)
    table = read_csv(path)
    assert (len(table.values), table.names) == (samples, names)
    assert table.values.shape[1] == len(names or content.partition("\n")[0].split(","))
    assert table.notes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
def test_encodings_of_excel(path: Path, encoding: str) -> None:
    path.write_text("온도,압력\n" + BODY, encoding=encoding)
    table = read_csv(path)
    assert table.names == ["온도", "압력"]
    assert table.values.tolist() == NUMBERS
    assert bool(table.notes) == (encoding == "cp949")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'"a","b","Class"\n"1",0,0,0\n', "the header names 3 columns, line 2 has 4"),
        (b"a,b\n1,2\n\n1,2,3\n", "the header names 2 columns, line 4 has 3"),
        (b"1,2\n3\n", "line 1 has 2 columns, line 2 has 1"),
        (b"a,b\n1,2\n\n3,\n", "the cell is empty: line 4, column b"),
        (b"a,b\n1,2\n1,x\n", "could not convert string 'x' to a number: line 3, column b"),
        (b"1,2\n1,1_0\n", "could not convert string '1_0' to a number: line 2, column 2"),
        (b'a,"b\nc"\n1,2\n1,x\n', "line 4, column b c"),
        (b"a,b\n1,nan\n", "nan in line 2, column b"),
        (b"a,b\n1,1e39\n", "1e39 in line 2, column b"),
        (b"a;b\n1,5;2,5\n", "separated by semicolons; save it as CSV UTF-8"),
        (b"1,5;2,5\n3,5;4,5\n", "separated by semicolons; save it as CSV UTF-8"),
        (b"a\tb\n1\t2\n", "separated by tabs; save it as CSV UTF-8"),
        ("a\tb\n1\t2\n".encode("utf-16"), "separated by tabs; save it as CSV UTF-8"),
        (b'a,b\n"1,5","2,5"\n', "has a decimal comma; save it as CSV UTF-8"),
        (b"sep=;\na;b\n1;2\n", "a setting of Excel, 'sep=;'; save it as CSV UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "holds NUL characters"),
        (b"\xff\xff,b\n1,2\n", "it is not text in UTF-8; save it as CSV UTF-8"),
        (b"PK\x03\x04\x14\x00\x06\x00", "holds NUL characters"),
    ],
)
def test_refusals(empty_trainer: Trainer, refusal: Refusal, content: bytes, reason: str) -> None:
    (empty_trainer.input / "a.csv").write_bytes(content)
    error = refusal()
    assert error.startswith("error: a.csv")
    assert reason in error


def test_line_that_is_too_long(
    empty_trainer: Trainer, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.csv_files.MAX_LINE", 100)
    (empty_trainer.input / "a.csv").write_text("a,b\n1,2\n" + "1," * 60 + "\n")
    assert "a.csv cannot be read: line 3 is longer than 100 characters" in refusal()


def test_cell_that_is_too_long_for_csv(empty_trainer: Trainer, refusal: Refusal) -> None:
    """The csv module refuses fields of more than 128 KiB by an exception of its own."""
    (empty_trainer.input / "a.csv").write_text("x" * 200_000 + ",b\n" + BODY + "1,\n")
    assert "the cell is empty: line 22, column b" in refusal()


def test_columns_are_matched_by_name(empty_trainer: Trainer) -> None:
    (empty_trainer.input / "a.csv").write_text("t,p\n" + BODY)
    swapped = np.array(NUMBERS)[:, ::-1]
    text = io.StringIO()
    np.savetxt(text, swapped, delimiter=",", header="p,t", comments="")
    (empty_trainer.input / "b.csv").write_text(text.getvalue())
    assert read_dataset(empty_trainer.input).rows.tolist() == NUMBERS * 2


@pytest.mark.parametrize(
    ("header", "odd"), [("t,q", "p, q"), ("t,t", "p"), ("0,1", "0, 1, p, t"), ("T,p", "T, t")]
)
def test_other_columns_are_refused(
    empty_trainer: Trainer, refusal: Refusal, header: str, odd: str
) -> None:
    (empty_trainer.input / "a.csv").write_text("t,p\n" + BODY)
    (empty_trainer.input / "b.csv").write_text(header + "\n" + BODY)
    assert refusal() == (f"error: mixed columns: the headers of a.csv and b.csv differ in {odd}\n")
