import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from dataset import Dataset, permutation, read_dataset
from tests.unit.models.kit import DIGITS, Trainer

Refuse = Callable[..., str]


def table(samples: int = 20, width: int = 4) -> np.ndarray:
    return np.arange(samples * width, dtype=np.float64).reshape(samples, width)


def as_csv(rows: np.ndarray) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def read(trainer: Trainer, name: str | None = None) -> Dataset:
    return read_dataset(trainer.input, name)


def test_the_digits_of_the_repository() -> None:
    dataset = read_dataset(DIGITS.parent, DIGITS.name)
    assert dataset.rows.shape == (1797, 64)
    assert dataset.rows.dtype == np.float32
    assert dataset.sample_shape == (8, 8)
    assert (dataset.rows.min(), dataset.rows.max()) == (0, 16)
    digest = hashlib.sha256(DIGITS.read_bytes()).hexdigest()
    assert dataset.sha256 == {"digits.npz": digest}
    assert digest in (DIGITS.parent / "README.md").read_text()


def test_the_digits_are_as_their_authors_counted_them() -> None:
    with np.load(DIGITS) as arrays:
        assert np.bincount(arrays["y"]).tolist() == [
            178, 182, 177, 183, 181, 182, 181, 179, 174, 180
        ]  # fmt: skip
    with zipfile.ZipFile(DIGITS) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_every_data_file_is_read_in_the_order_of_names(trainer: Trainer) -> None:
    trainer.save("b.npy", table())
    np.savez(trainer.input / "a.NPZ", x=table() + 100)
    (trainer.input / "a.NPZ.npz").rename(trainer.input / "a.NPZ")
    (trainer.input / "c.csv").write_text(as_csv(table() + 200))
    (trainer.input / "notes.txt").write_text("not data")
    (trainer.input / ".upload.csv").write_text("half a fi")
    (trainer.input / "folder.csv").mkdir()
    dataset = read(trainer)
    assert dataset.files == {"a.NPZ": 20, "b.npy": 20, "c.csv": 20}
    assert dataset.rows[[0, 20, 40], 0].tolist() == [100, 0, 200]
    assert dataset.origin(0) == ("a.NPZ", 0)
    assert dataset.origin(39) == ("b.npy", 19)
    assert dataset.origin(40) == ("c.csv", 0)
    with pytest.raises(IndexError):
        dataset.origin(60)


def test_one_file_can_be_named(trainer: Trainer) -> None:
    trainer.save("a.npy", table())
    trainer.save("b.npy", table(10))
    assert read(trainer, "b.npy").files == {"b.npy": 10}


def test_labels_in_an_npz_are_left_alone(trainer: Trainer) -> None:
    labels = np.zeros(20)
    np.savez(trainer.input / "a.npz", x_train=table(), y_train=labels, x_test=table(10), Y=labels)
    assert read(trainer).rows.shape == (30, 4)


def test_the_only_array_of_an_npz_may_have_any_name(trainer: Trainer) -> None:
    np.savez(trainer.input / "a.npz", signals=table())
    assert read(trainer).rows.shape == (20, 4)


def test_an_npz_of_several_arrays_has_to_say_which(trainer: Trainer, refuse: Refuse) -> None:
    np.savez(trainer.input / "a.npz", data=table(), labels=np.zeros(20))
    assert refuse() == (
        "error: a.npz: no array is called x or begins with x_, there is data, labels\n"
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
def test_csv(trainer: Trainer, content: str) -> None:
    (trainer.input / "a.csv").write_text(content, encoding="utf-8", newline="")
    dataset = read(trainer)
    assert dataset.rows.tolist() == table().tolist()
    assert dataset.sample_shape == (4,)


def test_a_csv_of_one_column(trainer: Trainer) -> None:
    (trainer.input / "a.csv").write_text(as_csv(table(12, 1)))
    assert read(trainer).rows.shape == (12, 1)


@pytest.mark.parametrize("kind", ["uint8", "int64", "bool", "float16", "float64", ">f4"])
def test_all_real_numbers_become_float32(trainer: Trainer, kind: str) -> None:
    trainer.save("a.npy", np.ones((10, 2, 3), dtype=kind))
    dataset = read(trainer)
    assert dataset.rows.dtype == np.float32
    assert (dataset.rows == 1).all()
    assert dataset.sample_shape == (2, 3)


def test_no_data(trainer: Trainer, refuse: Refuse) -> None:
    assert "no data: no .csv, .npy, .npz file in" in refuse()
    assert "does not exist" in refuse(INPUT_DIR=str(trainer.input / "none"))


@pytest.mark.parametrize("name", ["b.npy", "../b.npy", "/etc/passwd", ".", "..", "sub/a.npy", "*"])
def test_a_dataset_that_is_no_data_file_of_the_folder(
    ready: Trainer, refuse: Refuse, name: str
) -> None:
    ready.save("../b.npy", table())
    assert refuse(DATASET=name) == (
        f"error: no data: the input folder has no data file {name!r}, but a.npy\n"
    )


def test_links_may_not_lead_out_of_the_folder(
    trainer: Trainer, refuse: Refuse, tmp_path: Path
) -> None:
    np.save(tmp_path / "secret.npy", table())
    (trainer.input / "a.npy").symlink_to(tmp_path / "secret.npy")
    for dataset in ("", "a.npy"):
        assert "a.npy is a link that leads out of" in refuse(DATASET=dataset)


def test_links_within_the_folder_are_files(trainer: Trainer) -> None:
    hidden = trainer.input / "..2026"
    hidden.mkdir()
    np.save(hidden / "a.npy", table())
    (trainer.input / "a.npy").symlink_to(hidden / "a.npy")
    assert read(trainer).files == {"a.npy": 20}


def test_mixed_shapes_name_both_files(trainer: Trainer, refuse: Refuse) -> None:
    trainer.save("a.npy", np.zeros((20, 8, 8)))
    trainer.save("b.npy", np.zeros((30, 64)))
    trainer.save("c.npy", np.zeros((10, 5)))
    assert refuse() == "error: mixed shapes: a.npy is 20 x 8 x 8, c.npy is 10 x 5\n"


def test_mixed_shapes_within_a_file(trainer: Trainer, refuse: Refuse) -> None:
    np.savez(trainer.input / "a.npz", x_a=table(), x_b=table(20, 5))
    assert refuse() == "error: mixed shapes: a.npz holds 20 x 4 and 20 x 5\n"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_numbers_that_are_none(trainer: Trainer, refuse: Refuse, value: float) -> None:
    rows = table()
    rows[7, 2] = value
    trainer.save("a.npy", rows)
    assert "a.npy: sample 7 (from 0) holds NaN or an infinite number" in refuse()
    (trainer.input / "a.npy").unlink()
    (trainer.input / "a.csv").write_text(as_csv(rows))
    assert "a.csv: sample 7 (from 0) holds NaN or an infinite number" in refuse()


def saved(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npy", b"", "cannot be read"),
        ("a.npy", saved(table())[:-9], "cannot be read"),
        ("a.npy", b"1,2,3\n", "cannot be read"),
        ("a.npz", b"PK\x03\x04 broken", "cannot be read"),
        ("a.npz", zipped("x.npy", saved(table())[:200]), "cannot be read"),
        ("a.npz", zipped("x", b"text"), "holds |S4, not real numbers"),
        ("a.npy", pickle.dumps(table()), "cannot be read"),
        ("a.npy", saved(np.array([{}, 1])), "cannot be read"),
        ("a.npy", saved(np.array([["a", "b"]] * 20)), "holds <U1, not real numbers"),
        ("a.npy", saved(np.ones((20, 2), dtype=complex)), "holds complex128, not real numbers"),
        ("a.npy", saved(np.ones(20)), "is 20, not a table of samples"),
        ("a.npy", saved(np.array(1.0)), "is a single number, not a table of samples"),
        ("a.npy", saved(np.ones((0, 4))), "is 0 x 4, it holds no samples"),
        ("a.npy", saved(np.ones((20, 0))), "is 20 x 0, it holds no samples"),
        ("a.npy", saved(np.ones((9, 4))), "9 samples are too few to split, 10 are needed"),
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
def test_what_is_no_table_of_numbers(
    trainer: Trainer, refuse: Refuse, name: str, content: bytes, reason: str
) -> None:
    (trainer.input / name).write_bytes(content)
    assert reason in refuse()


def test_the_split_is_a_tenth_and_complete() -> None:
    rows = np.zeros((105, 2), dtype=np.float32)
    training, validation = Dataset(rows, (2,), {"a": 105}, {"a": ""}).split(seed=3)
    assert len(validation) == 10
    assert sorted([*training, *validation]) == list(range(105))


def test_taken_rows_are_those_of_the_split_and_lie_where_all_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dataset.ROWS_AT_A_TIME", 7)
    rows = table(105).astype(np.float32)
    dataset = Dataset(rows.copy(), (4,), {"a": 105}, {"a": ""})
    parts = dataset.split(seed=3)
    training, validation = dataset.take(*parts)
    assert (training == rows[parts[0]]).all()
    assert (validation == rows[parts[1]]).all()
    assert np.shares_memory(training, dataset.rows)


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_lie_one_after_the_other(trainer: Trainer, order: Literal["C", "F"]) -> None:
    rows = np.asarray(table(), dtype=np.float32, order=order)
    trainer.save("a.npy", rows)
    dataset = read(trainer)
    assert dataset.rows.flags.c_contiguous
    assert (dataset.rows == rows).all()


def test_a_permutation_depends_on_seed_and_epoch() -> None:
    one = permutation(100, 0, 1).tolist()
    assert sorted(one) == list(range(100))
    assert one == permutation(100, 0, 1).tolist()
    assert one != permutation(100, 0, 2).tolist()
    assert one != permutation(100, 1, 1).tolist()
