"""Records the curves of many trainings once, for `bench.sweeps.stop_rules`.

    python -m bench.sweeps.record_curves

Trains the digits autoencoder with RUNS random parameters, and writes the validation loss of each
epoch into `digits_curves.npz`: `learning_rate` and `hidden`, shape (runs,), and `val_loss`,
shape (runs, epochs). The networks of one width are trained together, as one batch of matrices:
with the initial weights, the order of the samples and the optimizer of the trainer, so that its own
losses differ by rounding alone. The file is part of the repository.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backend.sweeps.samplers import Method, suggest
from backend.sweeps.spaces import Choices, Dimension, Range

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
sys.path[:0] = [str(MODELS), str(MODELS / "autoencoder")]

from autoencoder_parameters import AutoencoderParameters  # noqa: E402
from autoencoder_training import AutoencoderTraining  # noqa: E402
from common.adam import BETA1, BETA2, EPSILON  # noqa: E402
from common.dataset import permutation, read_dataset  # noqa: E402
from common.output_folder import OutputFolder  # noqa: E402
from common.settings import read_settings  # noqa: E402

FILE = Path(__file__).parent / "digits_curves.npz"
RUNS, EPOCHS, SEED = 400, 81, 1
WIDTHS = (32, 64, 128)
SPACE: dict[str, Dimension] = {
    "hidden": Choices(WIDTHS),
    "learning_rate": Range(1e-4, 1e-1, log=True),
}


def prepared(hidden: int) -> AutoencoderTraining:
    """Return the trainer's own training before its first epoch."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(
            {
                "INPUT_DIR": str(ROOT / "input"),
                "OUTPUT_DIR": folder,
                "LEARNING_RATE": "0.001",
                "EPOCH": str(EPOCHS),
                "PARAM_HIDDEN": str(hidden),
            },
            AutoencoderParameters,
        )
        dataset = read_dataset(ROOT / "input", "digits.npz")
        return AutoencoderTraining(settings, dataset, OutputFolder(Path(folder)))


class Networks:
    """Autoencoders of one width with the same initial weights, one for each learning rate."""

    def __init__(self, training: AutoencoderTraining, rates: list[float]) -> None:
        self._rates = torch.tensor(rates)[:, None, None]
        self._weights: list[Tensor] = []
        for layer in training.network.layers:
            if isinstance(layer, torch.nn.Linear):
                for one in (layer.weight.detach().T, layer.bias.detach()[None]):
                    self._weights.append(one.expand(len(rates), -1, -1).clone().requires_grad_())
        self._means = [torch.zeros_like(one) for one in self._weights]
        self._squares = [torch.zeros_like(one) for one in self._weights]
        self._steps = 0

    def losses(self, rows: Tensor) -> Tensor:
        """Return the mean squared error of each network, shape (networks,)."""
        first, a, second, b, third, c, fourth, d = self._weights
        samples = rows.expand(len(self._rates), -1, -1)
        code = torch.baddbmm(b, torch.relu(torch.baddbmm(a, samples, first)), second)
        again = torch.baddbmm(d, torch.relu(torch.baddbmm(c, code, third)), fourth)
        return (again - samples).square().mean(dim=(1, 2))

    def step(self, rows: Tensor) -> None:
        """Take one step of Adam for each network."""
        gradients = torch.autograd.grad(self.losses(rows).sum(), self._weights)
        self._steps += 1
        unbiased = 1 - BETA1**self._steps
        root = (1 - BETA2**self._steps) ** 0.5
        with torch.no_grad():
            for weights, gradient, mean, square in zip(
                self._weights, gradients, self._means, self._squares, strict=True
            ):
                mean.lerp_(gradient, 1 - BETA1)
                square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
                denominator = square.sqrt().div_(root).add_(EPSILON)
                weights.sub_(mean / denominator * (self._rates / unbiased))


def curves(hidden: int, rates: list[float]) -> Tensor:
    """Return the validation losses, shape (runs, epochs); NaN where one has diverged."""
    training = prepared(hidden)
    networks = Networks(training, rates)
    found = []
    for epoch in range(1, EPOCHS + 1):
        order = torch.from_numpy(permutation(len(training.training_rows), 0, epoch))
        for batch in torch.split(order, training.batch_size):
            networks.step(training.training_rows.index_select(0, batch))
        with torch.no_grad():
            found.append(networks.losses(training.validation_rows))
        if epoch % 27 == 0:
            print(f"hidden {hidden}: epoch {epoch} of {EPOCHS}", flush=True)
    return torch.stack(found, dim=1)


def main() -> None:
    """Train all, and write the file."""
    chosen = [
        suggest(SPACE, [], SEED, number, method=Method.RANDOM) for number in range(1, RUNS + 1)
    ]
    table = np.zeros((RUNS, EPOCHS), dtype=np.float32)
    for hidden in WIDTHS:
        places = [place for place, one in enumerate(chosen) if one["hidden"] == hidden]
        rates = [float(chosen[place]["learning_rate"]) for place in places]
        table[places] = curves(hidden, rates).numpy()
    np.savez_compressed(
        FILE,
        learning_rate=np.array([one["learning_rate"] for one in chosen]),
        hidden=np.array([one["hidden"] for one in chosen]),
        val_loss=table,
    )
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
