import csv
import hashlib
import json
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autoencoder_training import Autoencoder
from common.images import comparison, image_shape, png
from tests.component.models.support import Trainer


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode an 8-bit greyscale PNG whose lines are not filtered."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, offset = {}, 8
    while offset < len(content):
        (length,) = struct.unpack(">I", content[offset : offset + 4])
        kind, body = content[offset + 4 : offset + 8], content[offset + 8 : offset + 8 + length]
        (checksum,) = struct.unpack(">I", content[offset + 8 + length : offset + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        offset += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 0, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


def test_results_of_an_experiment(trainer: Trainer) -> None:
    assert trainer.run(ATTEMPT="2", SEED="5") == 0
    assert set(trainer.files()) == {
        "anomaly_scores.csv",
        "metrics.jsonl",
        "model.pt",
        "reconstructions.png",
        "summary.json",
    }
    summary, metrics = trainer.summary(), trainer.metrics()
    assert summary["experiment_id"] == "first"
    assert summary["attempt"] == 2
    assert summary["parameters"] == {
        "learning_rate": 0.001,
        "epochs": 3,
        "dataset": None,
        "seed": 5,
        "validation_share": 0.1,
        "batch_size": 0,
        "hidden": 0,
        "code": 0,
    }
    assert summary["final"] == metrics[-1]
    assert summary["best"] == min(metrics, key=lambda row: row["val_loss"])
    assert summary["samples"] == {"total": 200, "training": 180, "validation": 20, "shape": [16]}
    assert summary["seconds"] == pytest.approx(sum(row["seconds"] for row in metrics))
    assert summary["device"] in {"cpu", "cuda"}
    assert summary["versions"]["torch"] == torch.__version__
    digest = hashlib.sha256((trainer.input / "a.npy").read_bytes()).hexdigest()
    assert summary["input_sha256"] == {"a.npy": digest}
    assert summary["finished_at"].endswith("Z")


def test_best_epoch_is_not_the_last(trainer: Trainer) -> None:
    assert trainer.run(LEARNING_RATE="1", EPOCH="8") == 0
    best = trainer.summary()["best"]
    assert best == min(trainer.metrics(), key=lambda row: row["val_loss"])
    assert best["epoch"] < 8


def test_model_reproduces_the_scores(trainer: Trainer) -> None:
    trainer.save("b.npy", np.load(trainer.input / "a.npy") * 3 + 100)
    assert trainer.run() == 0
    saved = torch.load(trainer.output / "model.pt", weights_only=True)
    network = Autoencoder(**saved["architecture"])
    network.load_state_dict(saved["state_dict"])
    assert saved["sample_shape"] == (16,)

    with (trainer.output / "anomaly_scores.csv").open(newline="") as file:
        scores = list(csv.DictReader(file))
    assert len(scores) == 40
    assert {score["file"] for score in scores} == {"a.npy", "b.npy"}
    errors = [float(score["error"]) for score in scores]
    assert errors == sorted(errors, reverse=True)
    assert np.mean(errors) == pytest.approx(trainer.metrics()[-1]["val_loss"], rel=1e-5)
    files = {name: np.load(trainer.input / name) for name in ("a.npy", "b.npy")}
    raw = np.stack([files[score["file"]][int(score["sample"])] for score in scores])
    rows = torch.from_numpy(raw.astype(np.float32))
    with torch.no_grad():
        normalised = network.normalise(rows)
        again = (network(normalised) - normalised).square().mean(dim=1)
        same = network.normalise(network.reconstruct(rows))
    assert again.tolist() == pytest.approx(errors, rel=1e-3)
    torch.testing.assert_close(same, network(normalised), rtol=1e-3, atol=1e-4)


def test_inputs_above_reconstructions() -> None:
    inputs = np.zeros((3, 4), dtype=np.float32)
    inputs[1] = [0, 1, 2, 3]
    reconstructions = np.full((3, 4), 9, dtype=np.float32)  # above all inputs: drawn as white
    picture = decode(png(comparison(inputs, reconstructions, (2, 2))))
    assert picture.shape == (4 + 2 * 68, 4 + 3 * 68)
    assert (picture[4:68, 4:68] == 0).all()
    second = picture[4:68, 72:136]
    assert second[0, 0] == 0
    assert second[0, 63] == 85
    assert second[63, 0] == 170
    assert second[63, 63] == 255
    assert (picture[72:] == 255).all()


@pytest.mark.parametrize(
    ("sample_shape", "expected"),
    [
        ((8, 8), (8, 8)),
        ((10, 4), (10, 4)),
        ((1, 28, 28), (28, 28)),
        ((28, 28, 1), (28, 28)),
        ((3, 8, 6), (24, 6)),
        ((784,), (28, 28)),
        ((30,), (1, 30)),
        ((9,), (1, 9)),
        ((1,), (1, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_image_shape(sample_shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert image_shape(sample_shape) == expected


@pytest.mark.parametrize("width", [1, 30, 100, 100_000])
def test_image_size_for_any_width(width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(10, width)).astype(np.float32)
    height, length = decode(png(comparison(rows, rows, (width,)))).shape
    assert 20 <= height <= 1000
    assert 60 <= length <= 3000


def test_constant_samples_are_drawn() -> None:
    rows = np.ones((2, 4), dtype=np.float32)
    assert (comparison(rows, rows, (2, 2))[4:68, 4:68] == 0).all()


def test_file_names_are_quoted(empty_trainer: Trainer) -> None:
    name = 'Zahlen, "실험".npy'
    empty_trainer.save(name, np.random.default_rng(0).normal(size=(20, 4)))
    assert empty_trainer.run() == 0
    with (empty_trainer.output / "anomaly_scores.csv").open(newline="", encoding="utf-8") as file:
        assert {row["file"] for row in csv.DictReader(file)} == {name}
    assert list(
        json.loads((empty_trainer.output / "summary.json").read_text())["input_sha256"]
    ) == [name]
