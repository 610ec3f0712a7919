import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from common.dataset import Dataset, permutation, read_dataset
from tests.component.models.support import DIGITS, Trainer

Refusal = Callable[..., str]


def table(samples: int = 20, width: int = 4) -> np.ndarray:
    return np.arange(samples * width, dtype=np.float64).reshape(samples, width)


def as_csv(rows: np.ndarray) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def read(trainer: Trainer, name: str | None = None) -> Dataset:
    return read_dataset(trainer.input, name)


def test_digits_file() -> None:
    dataset = read_dataset(DIGITS.parent, DIGITS.name)
    assert dataset.rows.shape == (1797, 64)
    assert dataset.rows.dtype == np.float32
    assert dataset.sample_shape == (8, 8)
    assert (dataset.rows.min(), dataset.rows.max()) == (0, 16)
    digest = hashlib.sha256(DIGITS.read_bytes()).hexdigest()
    assert dataset.sha256 == {"digits.npz": digest}
    assert digest in (DIGITS.parent / "README.md").read_text()


def test_digits_class_counts() -> None:
    """The authors publish the counts; constant times keep the archive reproducible."""
    with np.load(DIGITS) as arrays:
        assert np.bincount(arrays["y"]).tolist() == [
            178, 182, 177, 183, 181, 182, 181, 179, 174, 180
        ]  # fmt: skip
    with zipfile.ZipFile(DIGITS) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_files_are_read_in_name_order(empty_trainer: Trainer) -> None:
    empty_trainer.save("b.npy", table())
    np.savez(empty_trainer.input / "a.NPZ", x=table() + 100)
    (empty_trainer.input / "a.NPZ.npz").rename(empty_trainer.input / "a.NPZ")
    (empty_trainer.input / "c.csv").write_text(as_csv(table() + 200))
    (empty_trainer.input / "notes.txt").write_text("not data")
    (empty_trainer.input / ".upload.csv").write_text("half a fi")
    (empty_trainer.input / "folder.csv").mkdir()
    dataset = read(empty_trainer)
    assert dataset.files == {"a.NPZ": 20, "b.npy": 20, "c.csv": 20}
    assert dataset.rows[[0, 20, 40], 0].tolist() == [100, 0, 200]
    assert dataset.origin(0) == ("a.NPZ", 0)
    assert dataset.origin(39) == ("b.npy", 19)
    assert dataset.origin(40) == ("c.csv", 0)
    with pytest.raises(IndexError):
        dataset.origin(60)


def test_single_file_by_name(empty_trainer: Trainer) -> None:
    empty_trainer.save("a.npy", table())
    empty_trainer.save("b.npy", table(10))
    assert read(empty_trainer, "b.npy").files == {"b.npy": 10}


def test_npz_labels_are_ignored(empty_trainer: Trainer) -> None:
    labels = np.zeros(20)
    np.savez(
        empty_trainer.input / "a.npz", x_train=table(), y_train=labels, x_test=table(10), Y=labels
    )
    assert read(empty_trainer).rows.shape == (30, 4)


def test_npz_with_a_single_array(empty_trainer: Trainer) -> None:
    np.savez(empty_trainer.input / "a.npz", signals=table())
    assert read(empty_trainer).rows.shape == (20, 4)


def test_npz_without_an_array_x(empty_trainer: Trainer, refusal: Refusal) -> None:
    np.savez(empty_trainer.input / "a.npz", data=table(), labels=np.zeros(20))
    assert refusal() == (
        "error: a.npz: no array's name is x or begins with x_; the arrays are: data, labels\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        as_csv(table()),
        "one,two,three,four\n" + as_csv(table()),
        "\ufeff" + as_csv(table()),
        'one,"two, or more",three,four\r\n' + as_csv(table()).replace("\n", "\r\n"),
        "one, LABEL ,two,three,four\n"
        + "".join(f"{row[0]},cat,{row[1]},{row[2]},{row[3]}\n" for row in table()),
    ],
    ids=["plain", "header", "byte order mark", "quotes and CRLF", "labels"],
)
def test_csv(empty_trainer: Trainer, content: str) -> None:
    (empty_trainer.input / "a.csv").write_text(content, encoding="utf-8", newline="")
    dataset = read(empty_trainer)
    assert dataset.rows.tolist() == table().tolist()
    assert dataset.sample_shape == (4,)


def test_csv_with_one_column(empty_trainer: Trainer) -> None:
    (empty_trainer.input / "a.csv").write_text(as_csv(table(12, 1)))
    assert read(empty_trainer).rows.shape == (12, 1)


@pytest.mark.parametrize("kind", ["uint8", "int64", "bool", "float16", "float64", ">f4"])
def test_real_numbers_become_float32(empty_trainer: Trainer, kind: str) -> None:
    empty_trainer.save("a.npy", np.ones((10, 2, 3), dtype=kind))
    dataset = read(empty_trainer)
    assert dataset.rows.dtype == np.float32
    assert (dataset.rows == 1).all()
    assert dataset.sample_shape == (2, 3)


def test_no_data(empty_trainer: Trainer, refusal: Refusal) -> None:
    assert "no data: no .csv, .npy, .npz file in" in refusal()
    assert "does not exist" in refusal(INPUT_DIR=str(empty_trainer.input / "none"))


@pytest.mark.parametrize("name", ["b.npy", "../b.npy", "/etc/passwd", ".", "..", "sub/a.npy", "*"])
def test_unknown_dataset_is_refused(trainer: Trainer, refusal: Refusal, name: str) -> None:
    trainer.save("../b.npy", table())
    assert refusal(DATASET=name) == (
        f"error: no data: the input folder has no data file {name!r}, choose from: a.npy\n"
    )


def test_links_out_of_the_folder(empty_trainer: Trainer, refusal: Refusal, tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", table())
    (empty_trainer.input / "a.npy").symlink_to(tmp_path / "secret.npy")
    for dataset in ("", "a.npy"):
        assert "a.npy is a link to a file outside" in refusal(DATASET=dataset)


def test_links_within_the_folder(empty_trainer: Trainer) -> None:
    """Kubernetes mounts the files of a ConfigMap as links to a hidden folder beside them."""
    hidden = empty_trainer.input / "..2026"
    hidden.mkdir()
    np.save(hidden / "a.npy", table())
    (empty_trainer.input / "a.npy").symlink_to(hidden / "a.npy")
    assert read(empty_trainer).files == {"a.npy": 20}


def test_mixed_shapes_of_files(empty_trainer: Trainer, refusal: Refusal) -> None:
    empty_trainer.save("a.npy", np.zeros((20, 8, 8)))
    empty_trainer.save("b.npy", np.zeros((30, 64)))
    empty_trainer.save("c.npy", np.zeros((10, 5)))
    assert refusal() == "error: mixed shapes: a.npy is 20 x 8 x 8, c.npy is 10 x 5\n"


def test_mixed_shapes_within_a_file(empty_trainer: Trainer, refusal: Refusal) -> None:
    np.savez(empty_trainer.input / "a.npz", x_a=table(), x_b=table(20, 5))
    assert refusal() == "error: mixed shapes: a.npz holds 20 x 4 and 20 x 5\n"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_nan_and_infinity_are_refused(
    empty_trainer: Trainer, refusal: Refusal, value: float
) -> None:
    rows = table()
    rows[7, 2] = value
    empty_trainer.save("a.npy", rows)
    assert "a.npy: sample 7 (counted from 0) holds NaN or an infinite number" in refusal()
    (empty_trainer.input / "a.npy").unlink()
    (empty_trainer.input / "a.csv").write_text(as_csv(rows))
    assert "a.csv: sample 7 (counted from 0) holds NaN or an infinite number" in refusal()


def npy_content(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def zip_content(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npy", b"", "cannot be read"),
        ("a.npy", npy_content(table())[:-9], "cannot be read"),
        ("a.npy", b"1,2,3\n", "cannot be read"),
        ("a.npz", b"PK\x03\x04 broken", "cannot be read"),
        ("a.npz", zip_content("x.npy", npy_content(table())[:200]), "cannot be read"),
        ("a.npz", zip_content("x", b"text"), "holds |S4, not real numbers"),
        ("a.npy", pickle.dumps(table()), "cannot be read"),
        ("a.npy", npy_content(np.array([{}, 1])), "cannot be read"),
        ("a.npy", npy_content(np.array([["a", "b"]] * 20)), "holds <U1, not real numbers"),
        (
            "a.npy",
            npy_content(np.ones((20, 2), dtype=complex)),
            "holds complex128, not real numbers",
        ),
        ("a.npy", npy_content(np.ones(20)), "is a list of 20 numbers, not a table of samples"),
        ("a.npy", npy_content(np.array(1.0)), "is a single number, not a table of samples"),
        ("a.npy", npy_content(np.ones((0, 4))), "is 0 x 4, it holds no samples"),
        ("a.npy", npy_content(np.ones((20, 0))), "is 20 x 0, it holds no samples"),
        (
            "a.npy",
            npy_content(np.ones((9, 4))),
            "9 samples are too few to split, at least 10 are needed",
        ),
        ("a.csv", b"", "it holds no samples"),
        ("a.csv", b"one,two\n", "it holds no samples"),
        ("a.csv", b"one,label\n", "it holds no samples"),
        ("a.csv", b"label\n1\n2\n", "is 2 x 0, it holds no samples"),
        ("a.csv", b"1,2\n3,4,5\n", "cannot be read"),
        ("a.csv", b"1,2,\n3,4,\n", "cannot be read"),
        ("a.csv", b"1,2\n3,four\n", "cannot be read: could not convert string 'four'"),
        ("a.csv", b"1;2\n3;4\n", "cannot be read"),
        ("a.csv", b"\xff\xfe1,2\n", "cannot be read"),
    ],
)
def test_unusable_files_are_refused(
    empty_trainer: Trainer, refusal: Refusal, name: str, content: bytes, reason: str
) -> None:
    (empty_trainer.input / name).write_bytes(content)
    assert reason in refusal()


def test_split_is_a_complete_tenth() -> None:
    rows = np.zeros((105, 2), dtype=np.float32)
    training, validation = Dataset(rows, (2,), {"a": 105}, {"a": ""}).split_indices(seed=3)
    assert len(validation) == 10
    assert sorted([*training, *validation]) == list(range(105))


def test_split_rows_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training rows are moved within the memory of all rows instead of copied."""
    monkeypatch.setattr("common.dataset.ROWS_AT_A_TIME", 7)
    rows = table(105).astype(np.float32)
    dataset = Dataset(rows.copy(), (4,), {"a": 105}, {"a": ""})
    indices = dataset.split_indices(seed=3)
    training, validation = dataset.split_rows(*indices)
    assert (training == rows[indices[0]]).all()
    assert (validation == rows[indices[1]]).all()
    assert np.shares_memory(training, dataset.rows)


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_contiguous(empty_trainer: Trainer, order: Literal["C", "F"]) -> None:
    rows = np.asarray(table(), dtype=np.float32, order=order)
    empty_trainer.save("a.npy", rows)
    dataset = read(empty_trainer)
    assert dataset.rows.flags.c_contiguous
    assert (dataset.rows == rows).all()


def test_permutation_by_seed_and_epoch() -> None:
    order = permutation(100, 0, 1).tolist()
    assert sorted(order) == list(range(100))
    assert order == permutation(100, 0, 1).tolist()
    assert order != permutation(100, 0, 2).tolist()
    assert order != permutation(100, 1, 1).tolist()
