"""The process of every trainer: environment, exit codes, signals, and what it reads and writes.

    INPUT_DIR           folder of the data files (see dataset.py)
    OUTPUT_DIR          the experiment's own folder (see output_folder.py)
    LEARNING_RATE       above 0, at most 10
    EPOCH               number of epochs, 1 to 100000
    DATASET             optional: the one file of INPUT_DIR to train on; without it, the files that
                        inputs.json names, or else all that are there at the first start
    PARAM_<NAME>        optional: a parameter of the model (see settings.py and model.yaml)
    EXPERIMENT_ID       optional, for the summary
    ATTEMPT             optional, for the summary
    CHECKPOINT_SECONDS  optional, 10: seconds of training that a crash may lose
    NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT
                        optional: the workers that train together (see distributed/gang.py)

Exit code: 0 finished; 2 input or configuration cannot be used; 66 a file that the experiment was
submitted or began with has changed or is gone; 69 another worker has ended; 1 any other expected
failure, such as a full disk; 128 + signal number after SIGTERM (143) or SIGINT (130), once a
checkpoint is written. Every failure is one line on standard error. Started again, the trainer
resumes from the checkpoint. Starting it for a finished experiment, or beside another trainer, is
harmless.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from common.distributed.gang import losing_peers
from common.distributed.worker_folder import WorkerFolder
from common.exceptions import InputChangedError, PeerLostError, UnusableError
from common.output_folder import CHECKPOINT, INPUTS, OutputFolder
from common.settings import P, Settings, read_settings

if TYPE_CHECKING:
    from common.dataset import Dataset
    from common.training import Training

MakeTraining: TypeAlias = "Callable[[Settings[P], Dataset, OutputFolder], Training[P, Any]]"

EXIT_FAILED, EXIT_UNUSABLE, EXIT_INPUT_CHANGED, EXIT_SIGNAL = 1, 2, 66, 128
EXIT_PEER_LOST = 69  # EX_UNAVAILABLE
MAX_MESSAGE = 1000  # characters
PERMANENT_ERRORS = {  # a retry would fail in the same way
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}


class SignalHandler:
    """Ends the process on a signal, or only records the signal if `deferred` is set."""

    def __init__(self) -> None:
        self.deferred = False
        self.received: int | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle the signal `number`."""
        if not self.deferred:
            # Nothing needs saving yet, and an exception raised here could be lost in an import.
            os._exit(EXIT_SIGNAL + number)
        self.received = number


def run(parameters: type[P], training: "MakeTraining[P]") -> NoReturn:
    """Train as the environment of this process describes, and exit.

    Args:
        parameters: The parameters that the model declares.
        training: Returns the training of settings, samples and output folder. It is called when the
            input has been read, so that PyTorch, which takes a second to import, need not be
            imported to report a mistake.
    """
    handler = SignalHandler()
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
    code = main(parameters, training, os.environ, handler)
    # Everything is written, and taking PyTorch apart would need as long as half its import.
    os._exit(code)


def main(
    parameters: type[P],
    training: "MakeTraining[P]",
    environment: Mapping[str, str],
    signals: SignalHandler,
) -> int:
    """Train as the environment describes, report failures, and return the exit code."""
    try:
        return train(read_settings(environment, parameters), training, signals)
    except InputChangedError as error:
        problem, code = str(error), EXIT_INPUT_CHANGED
    except UnusableError as error:
        problem, code = str(error), EXIT_UNUSABLE
    except PeerLostError as error:
        # Asked to stop as all of them are, it has lost the one that was faster.
        number = signals.received
        problem, code = str(error), EXIT_SIGNAL + number if number else EXIT_PEER_LOST
    except OSError as error:
        problem = f"cannot use {error.filename or environment['OUTPUT_DIR']}: {error.strerror}"
        code = EXIT_UNUSABLE if error.errno in PERMANENT_ERRORS else EXIT_FAILED
    print("error:", _printable(problem), file=sys.stderr, flush=True)
    return code


def _printable(problem: str) -> str:
    """Return a message on one line; names in damaged files may hold escape codes, or be long."""
    line = " ".join(problem.split())[:MAX_MESSAGE]
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def train(settings: Settings[P], training: "MakeTraining[P]", signals: SignalHandler) -> int:
    """Train from the checkpoint, or from the first epoch, to the end; return the exit code.

    Raises:
        UnusableError: The input or the output folder does not fit the settings.
        OSError: A file cannot be read or written.
    """
    folder = (WorkerFolder if settings.rank else OutputFolder)(settings.output_dir)
    with folder.locked():
        if folder.is_finished(settings.parameters, settings.defaults):
            print("this experiment has already finished", flush=True)
            return 0

        dataset = _read_input(settings, folder)
        samples, width = dataset.rows.shape
        print(f"{samples} samples of {width} numbers from {', '.join(dataset.files)}", flush=True)
        for note in dataset.notes:
            print("note:", note, flush=True)

        from common.report import write_results

        with losing_peers(settings):
            prepared = training(settings, dataset, folder)
            signals.deferred = True
            is_complete = prepared.run(lambda: signals.received is not None)
            prepared.gang.wait_for_all()
        if not is_complete:
            number = signals.received or signal.SIGTERM  # another worker has received it
            print(f"stopped by signal {number}, checkpoint written", flush=True)
            return EXIT_SIGNAL + number
        if prepared.gang.is_leader:
            write_results(prepared)
        folder.remove(CHECKPOINT)
        folder.remove(INPUTS)
    print(f"finished, results in {settings.output_dir}", flush=True)
    return 0


def _read_input(settings: Settings[Any], folder: OutputFolder) -> "Dataset":
    """Return the data set: of the files in inputs.json, of DATASET, or of all files.

    Raises:
        InputChangedError: A file that the experiment was submitted with has changed.
        UnusableError: The input cannot be used, or there is a checkpoint and a file has changed.
        OSError: A file cannot be read.
    """
    # NumPy and PyTorch take seconds to import. Errors that can be found without them are reported
    # before.
    from common.dataset import read_dataset

    target = settings.own.label_column
    if pinned := pinned_files(folder):
        sha256 = {name: digest for name, (_, digest) in pinned.items()}
        sizes = {name: size for name, (size, _) in pinned.items()}
        return read_dataset(settings.input_dir, files=sha256, sizes=sizes, target=target)
    if settings.dataset is not None:
        return read_dataset(settings.input_dir, settings.dataset, target=target)
    files = recorded_files(folder)
    try:
        dataset = read_dataset(settings.input_dir, files=files, target=target)
    except InputChangedError as error:
        if folder.size(CHECKPOINT):
            raise
        print(f"note: {_printable(str(error))}; starting with the files there are now", flush=True)
        files = None
        dataset = read_dataset(settings.input_dir, target=target)
    if files is None:
        record_files(folder, settings.input_dir, dataset.sha256)
    return dataset


def pinned_files(folder: OutputFolder) -> dict[str, tuple[int, str]]:
    """Return size and SHA-256 digest of each file that the experiment was submitted with.

    There are none if the backend does not know them.
    """
    try:
        content = json.loads(folder.read(INPUTS) or b"")
        if content["pinned"] is not True:
            return {}
        return {
            str(file["name"]): (int(file["bytes"]), str(file["sha256"]))
            for file in content["files"]
        }
    except (ValueError, KeyError, TypeError):
        return {}


def recorded_files(folder: OutputFolder) -> dict[str, str] | None:
    """Return name and SHA-256 digest of each file, in their order; None if nothing is recorded."""
    try:
        content = json.loads(folder.read(INPUTS) or b"")
        files = {str(file["name"]): str(file["sha256"]) for file in content["files"]}
    except (ValueError, KeyError, TypeError):
        files = {}
    if not files and folder.size(CHECKPOINT):  # of a version that did not record them
        from common import checkpoint

        files = checkpoint.input_files(folder)
    return files or None


def record_files(folder: OutputFolder, input_dir: Path, sha256: dict[str, str]) -> None:
    """Record the files that were read, given the digest of each."""
    files = [
        {"name": name, "bytes": (input_dir / name).stat().st_size, "sha256": digest}
        for name, digest in sha256.items()
    ]
    folder.write(INPUTS, json.dumps({"files": files}, indent=2).encode() + b"\n")
