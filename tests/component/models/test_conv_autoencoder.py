"""The convolutional autoencoder: which axes of a file are what, and what it learns."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from common.exceptions import UnusableError
from common.images import png, side_by_side
from conv_training import ConvAutoencoder
from image_layout import ImageLayout, image_layout
from tests.component.models.support import DIGITS, Trainer
from tests.component.models.test_report import decode

Output = pytest.CaptureFixture[str]


def blobs(samples: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return images, shape (samples, height, width, 3), each of a spot of one colour."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    centres = random.uniform(0.2, 0.8, (samples, 2)) * (height, width)
    spots = np.hypot(y - centres[:, 0, None, None], x - centres[:, 1, None, None]) < height / 4
    return (spots[..., None] * random.uniform(60, 255, (samples, 1, 1, 3))).astype(np.float32)


@pytest.fixture
def conv(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, "conv-autoencoder")


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((8, 8), "auto", ImageLayout(1, 8, 8, True)),
        ((3, 5), "auto", ImageLayout(1, 3, 5, True)),
        ((64,), "auto", ImageLayout(1, 8, 8, True)),
        ((3, 32, 30), "auto", ImageLayout(3, 32, 30, True)),
        ((32, 30, 3), "auto", ImageLayout(3, 32, 30, False)),
        ((1, 28, 28), "auto", ImageLayout(1, 28, 28, True)),
        ((28, 28, 4), "auto", ImageLayout(4, 28, 28, False)),
        ((3, 28, 3), "channels_first", ImageLayout(3, 28, 3, True)),
        ((3, 28, 3), "channels_last", ImageLayout(3, 3, 28, False)),
    ],
)
def test_layouts(shape: tuple[int, ...], layout: str, expected: ImageLayout) -> None:
    assert image_layout(shape, layout) == expected


@pytest.mark.parametrize(
    ("shape", "layout", "sentence"),
    [
        ((3, 28, 3), "auto", "could be the first or the last axis: set the parameter layout"),
        ((28, 28, 5), "auto", "the first or last axis must have 1, 3 or 4 entries"),
        ((28, 28, 3), "channels_first", "the first axis must have 1, 3 or 4 entries"),
        ((2, 3, 8, 8), "auto", "they have too many axes"),
        ((60,), "auto", "no images: save them as N x height x width"),
        ((9,), "auto", "no images: save them as N x height x width"),
    ],
)
def test_no_layout(shape: tuple[int, ...], layout: str, sentence: str) -> None:
    with pytest.raises(UnusableError, match=sentence):
        image_layout(shape, layout)


def test_refused_in_one_sentence(conv: Trainer, capfd: Output) -> None:
    conv.save("a.npy", np.zeros((20, 3, 8, 3)))
    assert conv.run() == 2
    error = capfd.readouterr().err
    assert error.startswith("error: the channels of 3 x 8 x 3 images could be ")
    assert error.count("\n") == 1
    assert conv.run(PARAM_LAYOUT="channels_last") == 0


def test_order_of_axes_does_not_matter(tmp_path: Path) -> None:
    """The same images lead to about the same losses, with channels first and last."""
    curves = []
    for name, order in (("last", (0, 1, 2, 3)), ("first", (0, 3, 1, 2))):
        (tmp_path / name).mkdir()
        trainer = Trainer(tmp_path / name, "conv-autoencoder")
        trainer.save("a.npy", blobs(100, 10, 7).transpose(order))
        assert trainer.run(PARAM_NOISE="0") == 0
        curves.append(trainer.curve())
    assert np.array(curves[0]) == pytest.approx(np.array(curves[1]), rel=1e-3)


def test_colours_are_learned_and_drawn(conv: Trainer) -> None:
    images = blobs(300, 8, 8)
    conv.save("a.npy", images)
    assert conv.run(EPOCH="60", LEARNING_RATE="0.005") == 0
    assert conv.metrics()[-1]["val_loss"] < 0.15  # the mean of all pixels would have 1
    picture = (conv.output / "reconstructions.png").read_bytes()
    assert picture[25] == 2  # RGB
    saved = torch.load(conv.output / "model.pt", weights_only=True)
    network = ConvAutoencoder(**saved["architecture"])
    network.load_state_dict(saved["state_dict"])
    rows = torch.from_numpy(images.reshape(300, -1))
    with torch.no_grad():
        reconstructed = network.reconstruct(rows).view(300, 8, 8, 3).numpy()
    colours, expected = (part.mean(axis=(1, 2)) for part in (reconstructed, images))
    assert np.corrcoef(colours.ravel(), expected.ravel())[0, 1] > 0.9


def test_digits_at_first_try(conv: Trainer) -> None:
    assert conv.run(INPUT_DIR=str(DIGITS.parent), DATASET=DIGITS.name, EPOCH="10") == 0
    assert conv.metrics()[-1]["val_loss"] < 0.3
    assert decode((conv.output / "reconstructions.png").read_bytes()).shape == (140, 684)
    assert (conv.output / "anomaly_scores.csv").read_text().count("\n") == 180
    assert conv.summary()["network"]["height"] == 8


def test_rows_far_from_zero(conv: Trainer) -> None:
    """Squares given as rows are normalised together, whatever was subtracted from each column."""
    rows = blobs(60, 8, 8)[..., 0].reshape(60, 64)
    conv.save("a.npy", rows.astype(np.float64) + 1e7)
    training = conv.training()
    assert training.network.mean.shape == (1,)
    assert training.network.mean.item() == pytest.approx(1e7, rel=1e-3)
    assert abs(training.training_rows.mean().item()) < 0.1


def test_resumed_with_the_same_noise(conv: Trainer, tmp_path: Path) -> None:
    conv.save("a.npy", blobs(150, 6, 6)[..., 0])
    assert conv.run() == 0
    uninterrupted = conv.curve()
    conv.output = tmp_path / "stopped"
    changes = {"OUTPUT_DIR": str(conv.output), "CHECKPOINT_SECONDS": "1000"}
    for _ in range(4):
        assert not conv.training(**changes).run(lambda: True)
    assert conv.run(**changes) == 0
    assert conv.curve() == uninterrupted


def test_noise_and_precision_change_the_losses(conv: Trainer, tmp_path: Path) -> None:
    conv.save("a.npy", blobs(60, 8, 8))
    curves = []
    for number, (noise, mixed) in enumerate([("0", "false"), ("1", "false"), ("0", "true")]):
        conv.output = tmp_path / str(number)
        changes = {"OUTPUT_DIR": str(conv.output), "PARAM_NOISE": noise}
        assert conv.run(PARAM_MIXED_PRECISION=mixed, **changes) == 0
        curves.append(np.array(conv.curve()))
    assert not (curves[1] == curves[0]).all()
    assert not (curves[2] == curves[0]).all()
    assert curves[2] == pytest.approx(curves[0], rel=0.05)


def test_colour_picture() -> None:
    """Every tile has its colours: black is the lowest number, and white the highest."""
    images = np.zeros((1, 8, 8, 3), np.float32)
    images[..., 0] = 5
    pixels = side_by_side(images, images)
    assert pixels.shape == (140, 72, 3)
    assert (pixels[4:68, 4:68] == (255, 0, 0)).all()
    assert png(pixels)[25] == 2
