"""Trains an autoencoder as the environment says and leaves the results in OUTPUT_DIR.

    INPUT_DIR           the folder of the data files (see dataset.py)
    OUTPUT_DIR          the run's own folder (see run.py)
    LEARNING_RATE       above 0, at most 10
    EPOCH               number of epochs, 1 to 100000
    DATASET             optional: the one file of INPUT_DIR to train on
    SEED                optional, 0: same seed, same input, same machine: same losses
    EXPERIMENT_ID       optional, for the summary
    ATTEMPT             optional, for the summary
    CHECKPOINT_SECONDS  optional, 10: seconds of training that a crash may cost

Exit code: 0 done; 2 input or configuration cannot be used; 1 anything else that is foreseen, such
as a full disk; 128 + the signal's number after SIGTERM (143) or SIGINT (130), with a checkpoint
made. Every failure is one line on the standard error. Started again, it goes on from the
checkpoint; started on a finished run, or beside another trainer, it does no harm.
"""

import errno
import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType

from run import CHECKPOINT, RunFolder, Settings, UnusableError

FAILED, UNUSABLE, SIGNALLED = 1, 2, 128
LASTING_ERRORS = {  # which a retry does not cure
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


class Stop:
    """A signal's handler: ends the process at once, or, if it is `deferred`, remembers."""

    def __init__(self) -> None:
        self.deferred = False
        self.received: int | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        if not self.deferred:
            os._exit(SIGNALLED + number)  # nothing to save yet, and imports may swallow exceptions
        self.received = number


def main(environment: Mapping[str, str], stop: Stop) -> int:
    """Run the training and return the exit code."""
    try:
        return train(Settings.from_environment(environment), stop)
    except UnusableError as error:
        problem, code = str(error), UNUSABLE
    except OSError as error:
        problem = f"cannot use {error.filename or environment['OUTPUT_DIR']}: {error.strerror}"
        code = UNUSABLE if error.errno in LASTING_ERRORS else FAILED
    print("error:", " ".join(problem.split()), file=sys.stderr, flush=True)
    return code


def train(settings: Settings, stop: Stop) -> int:
    """Bring the run to its end, from wherever it stands."""
    folder = RunFolder(settings.output_dir)
    with folder.locked():
        if folder.is_finished(settings.parameters):
            print("this run is finished already", flush=True)
            return 0

        # Here and not above: these take seconds, and what is wrong so far is told at once.
        from dataset import read_dataset

        dataset = read_dataset(settings.input_dir, settings.dataset)
        samples, width = dataset.rows.shape
        print(f"{samples} samples of {width} numbers from {', '.join(dataset.files)}", flush=True)

        from report import write_results
        from training import Training

        training = Training(settings, dataset, folder)
        stop.deferred = True
        if not training.run(lambda: stop.received is not None):
            print(f"stopped by signal {stop.received}, checkpoint written", flush=True)
            return SIGNALLED + (stop.received or 0)
        write_results(training)
        folder.remove(CHECKPOINT)
    print(f"finished, results in {settings.output_dir}", flush=True)
    return 0


if __name__ == "__main__":
    handler = Stop()
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
    sys.exit(main(os.environ, handler))
