"""A process of Optuna that trains the digits autoencoder, for `bench.sweeps.wall_time`.

    python -m bench.sweeps.optuna_worker JOURNAL INPUT OUTPUT TRIALS EPOCHS

Several of them share a study through a journal on disk, as Optuna's documentation advises for
processes of one machine. Each trial calls the trainer's own `main`, whose output is dropped; the
imports happen once.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback

MODELS = Path(__file__).resolve().parents[2] / "models"
sys.path[:0] = [str(MODELS), str(MODELS / "autoencoder")]

from autoencoder_parameters import AutoencoderParameters  # noqa: E402
from common.trainer import SignalHandler, main  # noqa: E402
from train import training  # noqa: E402


def work(journal: str, input_dir: str, output_dir: str, trials: int, epochs: int) -> None:
    """Take trials from the study until it has `trials`."""

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        folder = Path(output_dir, str(trial.number))
        folder.mkdir()
        environment = {
            "INPUT_DIR": input_dir,
            "OUTPUT_DIR": str(folder),
            "DATASET": "digits.npz",
            "LEARNING_RATE": repr(rate),
            "EPOCH": str(epochs),
        }
        with contextlib.redirect_stdout(io.StringIO()):
            code = main(AutoencoderParameters, training, environment, SignalHandler())
        if code:
            raise RuntimeError(f"the trainer ends with {code}")
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return float(min(json.loads(line)["val_loss"] for line in lines))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(journal)),
        study_name="digits",
        sampler=optuna.samplers.RandomSampler(),
        load_if_exists=True,
    )
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials)], n_trials=trials)


if __name__ == "__main__":
    _, journal, input_dir, output_dir, trials, epochs = sys.argv
    work(journal, input_dir, output_dir, int(trials), int(epochs))
