"""The classifier: which labels it reads from which file, its metrics, and its results."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from classifier_training import Classifier
from common.dataset import read_dataset
from confusion import accuracy, confusion_image, macro_f1
from tests.component.models.support import DIGITS, Trainer

Output = pytest.CaptureFixture[str]
Refusal = Callable[..., str]


@pytest.fixture
def classifier(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, "classifier")


@pytest.fixture
def refused(classifier: Trainer, capfd: Output) -> Refusal:
    """Run the classifier, which must refuse its input, and return the one line that says why."""

    def run(text: str | None = None, **changes: str) -> str:
        if text is not None:
            (classifier.input / "a.csv").write_text(text)
        assert classifier.run(**changes) == 2
        error = capfd.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error

    return run


def table(header: str, rows: int = 40, **cells: Callable[[int], str]) -> str:
    """Return a CSV table; the column `a` tells two classes apart."""
    known = {"a": lambda row: f"{row % 2 + row / 1000}", "b": lambda row: f"{row * 7 % 5}"}
    known |= {"kind": lambda row: "even" if row % 2 == 0 else "홀수"} | cells
    names = header.split(",")
    lines = [",".join(known[name.lower()](row) for name in names) for row in range(rows)]
    return "\n".join([header, *lines])


@pytest.mark.parametrize(
    ("header", "target", "found"),
    [
        ("a,b,kind", "", "kind"),  # the last column
        ("kind,a,b", "kind", "kind"),
        ("a,label,b", "", "label"),
        ("Class,a,b", "", "Class"),
        ("y,a,target", "", "target"),
        ("a,y,kind", "kind", "kind"),
    ],
)
def test_target_of_a_table(classifier: Trainer, header: str, target: str, found: str) -> None:
    kind = {name: lambda row: str(row % 2) for name in ("label", "class", "y", "target")}
    (classifier.input / "a.csv").write_text(table(header, **kind))
    assert classifier.run(PARAM_TARGET=target, LEARNING_RATE="0.01", EPOCH="20") == 0
    summary = classifier.summary()
    assert summary["target"] == found
    assert summary["best"]["val_accuracy"] == 1
    saved = torch.load(classifier.output / "model.pt", weights_only=True)
    assert saved["columns"] == [name for name in ("a", "b") if name in header.split(",")]


def test_other_labels_do_not_leak(classifier: Trainer, capfd: Output) -> None:
    """A second column of labels is no number of a sample, and the log says so."""
    text = table("a,label,kind", label=lambda row: str(row % 2))
    (classifier.input / "a.csv").write_text(text)
    assert classifier.run(PARAM_TARGET="kind") == 0
    output = capfd.readouterr().out
    assert "note: a.csv: column kind holds the labels\n" in output
    assert "note: a.csv: label may hold labels, too, and is left out\n" in output
    assert classifier.summary()["network"]["width"] == 1


def test_table_without_header(classifier: Trainer) -> None:
    (classifier.input / "a.csv").write_text(table("a,b,kind").partition("\n")[2])
    assert classifier.run() == 0
    assert (classifier.summary()["target"], classifier.summary()["classes"]) == (
        "3",
        ["even", "홀수"],
    )


def test_columns_of_several_files(classifier: Trainer) -> None:
    """The second file has another order of columns; labels stay with their rows."""
    (classifier.input / "a.csv").write_text(table("a,b,kind"))
    (classifier.input / "b.csv").write_text(table("kind,b,a"))
    dataset = read_dataset(classifier.input, target="kind")
    assert dataset.labels == ["even", "홀수"] * 40
    assert (dataset.rows[:40] == dataset.rows[40:]).all()


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        (table("a,b,kind"), {"PARAM_TARGET": "c"}, "no columns named 'c'; the columns are a, b, k"),
        (table("kind,b,kind"), {"PARAM_TARGET": "kind"}, "it has 2 columns named 'kind'"),
        (
            table("a,b").partition("\n")[2],
            {"PARAM_TARGET": "a"},
            "it has no header, so no column is named 'a'",
        ),
        (table("a,kind", kind=lambda row: "x" * (row != 7)), {}, "empty: line 9, column kind"),
        (table("a,kind", kind=lambda row: "x"), {}, "all 40 labels in kind are 'x'"),
        (table("a,b,a"), {}, "a has 40 different values in 40 samples, so these are no classes"),
        (table("kind"), {}, "it has no column besides the labels"),
        (
            table("a,kind", kind=lambda row: "x" * (1 + row % 2 * 200)),
            {},
            "which has 201 characters",
        ),
        (table("a,kind,b"), {}, "could not convert string 'even' to a number: line 2, column kind"),
    ],
)
def test_refused_tables(
    refused: Refusal, text: str, changes: dict[str, str], sentence: str
) -> None:
    assert sentence in refused(text, **changes)


@pytest.mark.parametrize("labels", ["ints", "floats", "texts"])
def test_labels_of_an_archive(classifier: Trainer, labels: str) -> None:
    numbers = np.arange(60) % 3
    kinds = {"ints": numbers, "floats": numbers.astype(float), "texts": np.array([*"abc"] * 20)}
    x = np.random.default_rng(0).normal(size=(60, 4))
    np.savez(classifier.input / "a.npz", x=x, y=kinds[labels], other=x)
    assert classifier.run() == 0
    assert classifier.summary()["classes"] == [*("abc" if labels == "texts" else "012")]


def test_arrays_of_an_archive(classifier: Trainer, refused: Refusal) -> None:
    """Each array of samples has its own labels; another name may be chosen."""
    x, y = np.zeros((30, 2)), np.arange(30) % 2
    np.savez(classifier.input / "a.npz", x_a=x, y_a=y, x_b=x, y_b=y + 2, z_a=y, z_b=y)
    assert read_dataset(classifier.input, target="").labels == [*"01"] * 15 + [*"23"] * 15
    assert read_dataset(classifier.input, target="z").labels == [*"01"] * 30
    assert "a.npz: it has no array 'c_a'; the arrays are: x_a, y_a," in refused(PARAM_TARGET="c")
    np.savez(classifier.input / "a.npz", x=x, y=y[:20])
    assert "a.npz has 20 labels for 30 samples" in refused()
    np.savez(classifier.input / "a.npz", x=x, y=np.where(y == 1, np.nan, y))
    assert "a.npz: y: sample 1 (counted from 0) has no label" in refused()
    np.savez(classifier.input / "a.npz", x=x, y=x)
    assert "a.npz: y holds more than one label for a sample" in refused()
    np.savez(classifier.input / "a.npz", x=x, y=np.array([{}] * 30))
    assert "a.npz cannot be read: it holds Python objects, not numbers" in refused()


def test_last_column_of_an_array(classifier: Trainer, refused: Refusal) -> None:
    rows = np.column_stack([np.arange(40.0), np.arange(40) % 2])
    classifier.save("a.npy", rows)
    dataset = read_dataset(classifier.input, target="")
    assert (dataset.rows.shape, dataset.labels) == ((40, 1), ["0", "1"] * 20)
    assert "its columns have no names, so none is named 'a'" in refused(PARAM_TARGET="a")
    classifier.save("a.npy", np.zeros((40, 3, 3)))
    assert "a .npy file with labels in its last column must be a table" in refused()


def test_digits_at_first_try(classifier: Trainer) -> None:
    assert classifier.run(INPUT_DIR=str(DIGITS.parent), DATASET=DIGITS.name, EPOCH="20") == 0
    assert classifier.summary()["best"]["val_accuracy"] > 0.95
    assert set(classifier.files()) == {
        *("confusion_matrix.csv", "confusion_matrix.png", "metrics.jsonl", "model.pt"),
        *("predictions.csv", "summary.json"),
    }
    names = ["epoch", "loss", "val_loss", "val_accuracy", "val_macro_f1", "seconds"]
    assert all(list(row) == names for row in classifier.metrics())


def test_results_agree(classifier: Trainer) -> None:
    """Matrix, predictions and the loaded network repeat the accuracy of the last epoch."""
    text = table("a,b,kind", rows=200, kind=lambda row: "xyz"[row * row % 3])
    (classifier.input / "a.csv").write_text(text)
    assert classifier.run(PARAM_VALIDATION_SHARE="0.3", PARAM_DROPOUT="0.2") == 0
    expected = classifier.metrics()[-1]["val_accuracy"]
    with (classifier.output / "predictions.csv").open(newline="") as file:
        predictions = list(csv.DictReader(file))
    right = [row["actual"] == row["predicted"] for row in predictions]
    assert (len(right), np.mean(right)) == (60, pytest.approx(expected))
    lines = (classifier.output / "confusion_matrix.csv").read_text().splitlines()
    counts = np.array([line.split(",")[1:] for line in lines[1:]], dtype=int)
    assert accuracy(counts) == pytest.approx(expected)

    saved = torch.load(classifier.output / "model.pt", weights_only=True)
    network = Classifier(**saved["architecture"]).eval()
    network.load_state_dict(saved["state_dict"])
    dataset = read_dataset(classifier.input, target="kind")
    rows = torch.from_numpy(dataset.rows[[int(row["sample"]) for row in predictions]])
    names = [saved["classes"][number] for number in network.predict(rows).tolist()]
    assert names == [row["predicted"] for row in predictions]


def test_resumed_with_the_same_dropout(classifier: Trainer, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 5))
    np.savez(classifier.input / "a.npz", x=rows, y=(rows[:, 0] > 0).astype(int))
    assert classifier.run(PARAM_DROPOUT="0.5") == 0
    uninterrupted = classifier.curve()
    classifier.output = tmp_path / "stopped"
    changes = {"OUTPUT_DIR": str(classifier.output), "PARAM_DROPOUT": "0.5"}
    stops = iter([False] * 4 + [True] * 2)
    training = classifier.training(**changes)
    assert not training.run(lambda: next(stops))
    assert classifier.run(**changes) == 0
    assert classifier.curve() == uninterrupted


def test_only_the_training_part_is_standardised(classifier: Trainer) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    np.savez(classifier.input / "a.npz", x=rows, y=np.arange(100) % 4)
    training = classifier.training()
    mean = training.network.mean.numpy()
    assert mean == pytest.approx(rows[training.training_indices].mean(axis=0), abs=1e-6)
    assert mean != pytest.approx(rows.mean(axis=0), abs=1e-6)


def test_classes_have_the_same_share_in_both_parts(classifier: Trainer) -> None:
    y = np.repeat([0, 1], [180, 20])
    np.savez(classifier.input / "a.npz", x=np.zeros((200, 2)), y=y)
    training, validation = read_dataset(classifier.input, target="").split_indices(0, 0.2)
    assert sorted([*training, *validation]) == list(range(200))
    assert (y[validation] == 1).sum() == 4
    assert len(validation) == 40


def test_metrics_of_a_matrix() -> None:
    confusion = np.array([[8, 2, 0], [1, 4, 0], [0, 0, 0]])
    assert accuracy(confusion) == pytest.approx(12 / 15)
    assert macro_f1(confusion) == pytest.approx((16 / 19 + 8 / 11) / 2)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_picture_of_a_matrix(classes: int) -> None:
    """The diagonal is dark, the rest is light, and counts are written where there is room."""
    pixels = confusion_image(np.eye(classes, dtype=np.int64) * 5)
    side = len(pixels) // classes
    assert max(pixels.shape[:2]) <= 1025
    assert tuple(pixels[side - 2, side - 2]) == (8, 48, 107)
    assert tuple(pixels[2, side + 2]) == (255, 255, 255)
    assert (255 in pixels[1 : side - 1, 1 : side - 1, 0]) == (classes < 100)


def test_labels_that_are_the_same_number(classifier: Trainer) -> None:
    (classifier.input / "a.csv").write_text(
        table("a,kind", kind=lambda row: ("1", "01", "1.0", "2")[row % 4])
    )
    assert read_dataset(classifier.input, target="").labels == ["1", "1", "1", "2"] * 10
