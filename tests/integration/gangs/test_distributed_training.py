"""conv-autoencoder on two nodes: the losses of one process, and no epoch twice after a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.waiting import eventually

ROOT = Path(__file__).parents[3]
TRAINER = ROOT / "models" / "conv-autoencoder" / "train.py"
SAMPLES = 131  # 117 for training: the last of its batches of 58 has one sample
LOST = 69
SECONDS = 120


class Workers:
    """The trainer as as many processes as there are nodes, in one output folder."""

    def __init__(self, folder, nodes, **changes):
        self.output, self.nodes = folder / "output", nodes
        self._changes = changes
        self._input = folder / "input"
        self._input.mkdir(parents=True)
        random = np.random.default_rng(1)
        np.save(self._input / "a.npy", random.normal(size=(SAMPLES, 8, 8)).astype(np.float32))
        self.processes = []

    def start(self, **changes):
        """Start all of them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        shared |= {
            "INPUT_DIR": str(self._input),
            "OUTPUT_DIR": str(self.output),
            "LEARNING_RATE": "0.01",
            "EPOCH": "4",
            "PARAM_BATCH_SIZE": "58",
            "OMP_NUM_THREADS": "1",
        }
        if self.nodes > 1:
            master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            shared |= master | {"NNODES": str(self.nodes)}
        shared |= self._changes | changes
        self.processes = [self._start_one(shared, rank) for rank in range(self.nodes)]
        return self.processes

    def _start_one(self, shared, rank):
        environment = shared | ({"NODE_RANK": str(rank)} if self.nodes > 1 else {})
        with self._log(rank).open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-u", TRAINER], env=environment, stdout=log, stderr=log
            )

    def _log(self, rank):
        return self._input.parent / f"worker-{rank}.log"

    def run(self, **changes):
        """Start all of them, and return their exit codes and what they printed."""
        self.start(**changes)
        return self.ends()

    def ends(self):
        """Wait for all of them, and return their exit codes and what they printed."""
        codes = [process.wait(SECONDS) for process in self.processes]
        return codes, [self._log(rank).read_text() for rank in range(len(codes))]

    def metrics(self):
        """Return the lines of metrics.jsonl that are complete."""
        try:
            lines = (self.output / "metrics.jsonl").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def losses(self):
        return [[line[name] for name in ("epoch", "loss", "val_loss")] for line in self.metrics()]

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def workers(tmp_path):
    made = []

    def make(name, nodes, **changes):
        made.append(Workers(tmp_path / name, nodes, **changes))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.mark.parametrize("noise", ["0", "0.1"])
def test_losses_are_those_of_one_process(workers, noise):
    """Within rounding, with a last batch that leaves a worker without a sample."""
    alone = workers("alone", 1, PARAM_NOISE=noise)
    together = workers("together", 2, PARAM_NOISE=noise)

    codes, printed = alone.run()
    assert codes == [0], printed
    codes, printed = together.run()
    assert codes == [0, 0], printed
    assert len(alone.losses()) == 4
    np.testing.assert_allclose(together.losses(), alone.losses(), rtol=1e-5)
    names = {path.name for path in together.output.iterdir()}
    assert names == {path.name for path in alone.output.iterdir()}
    summary = json.loads((together.output / "summary.json").read_text())
    assert summary["final"]["epoch"] == 4


def test_killed_worker_ends_the_attempt_and_the_next_one_goes_on(workers):
    """With the losses of a training that was never interrupted, and no epoch twice."""
    epochs = {"EPOCH": "120"}
    steady = workers("steady", 2, **epochs)
    assert steady.run()[0] == [0, 0]

    killed = workers("killed", 2, CHECKPOINT_SECONDS="0.2", **epochs)
    _, second = killed.start()
    eventually(lambda: len(killed.metrics()) >= 10 and (killed.output / "checkpoint.bin").exists())
    os.kill(second.pid, signal.SIGKILL)
    codes, printed = killed.ends()
    assert codes == [LOST, -signal.SIGKILL], printed
    assert "error: another worker of this experiment is gone" in printed[0]
    assert not (killed.output / "summary.json").exists()
    assert len(killed.metrics()) < 120

    codes, printed = killed.run(ATTEMPT="2")
    assert codes == [0, 0], printed
    assert "resuming after epoch" in printed[0]
    assert "resuming after epoch" in printed[1]
    assert [line["epoch"] for line in killed.metrics()] == list(range(1, 121))
    np.testing.assert_allclose(killed.losses(), steady.losses(), rtol=1e-9)


@pytest.mark.parametrize("asked", [0, 1])
def test_all_stop_if_one_is_asked_to(workers, asked):
    """A node that is drained asks its own worker only."""
    stopped = workers("stopped", 2, EPOCH="100000")
    processes = stopped.start()
    eventually(lambda: len(stopped.metrics()) >= 2)
    processes[asked].send_signal(signal.SIGTERM)

    codes, printed = stopped.ends()
    assert codes == [143, 143], printed
    assert (stopped.output / "checkpoint.bin").exists()
    again = stopped.start()
    eventually(lambda: len(stopped.metrics()) >= 4)
    for process in again:
        process.send_signal(signal.SIGTERM)
    assert stopped.ends()[0] == [143, 143]
    epochs = [line["epoch"] for line in stopped.metrics()]
    assert epochs == list(range(1, len(epochs) + 1))


def test_waiting_worker_can_be_stopped(workers):
    """The others may not have a node yet."""
    waiting = workers("waiting", 2)
    first, second = waiting.start()
    second.kill()
    eventually(lambda: (waiting.output / ".lock").exists())
    first.send_signal(signal.SIGTERM)
    assert first.wait(SECONDS) == 143


def test_one_process_goes_on_with_the_checkpoint_of_two(workers):
    """The number of nodes is no property of the training."""
    both = workers("both", 2, EPOCH="100000")
    processes = both.start()
    eventually(lambda: len(both.metrics()) >= 2)
    processes[0].send_signal(signal.SIGTERM)
    assert both.ends()[0] == [143, 143]
    done = len(both.metrics())
    both.nodes = 1
    (alone,) = both.start()
    eventually(lambda: len(both.metrics()) > done)
    alone.send_signal(signal.SIGTERM)
    codes, printed = both.ends()
    assert codes == [143], printed
    assert "resuming after epoch" in printed[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"MASTER_PORT": ""}, "MASTER_ADDR or MASTER_PORT is missing"),
        ({"NNODES": "1"}, "NODE_RANK must be less than NNODES, not 1"),
        ({"NNODES": "x"}, "NNODES must be a whole number from 1, not 'x'"),
    ],
)
def test_wrong_variables_are_named(workers, changes, sentence):
    wrong = workers("wrong", 2, **changes)
    first, second = wrong.start()

    assert second.wait(SECONDS) == 2
    first.kill()
    _, printed = wrong.ends()
    assert printed[1].splitlines()[-1] == f"error: {sentence}"


def test_model_for_one_node_refuses_several(workers, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "TRAINER", ROOT / "models/autoencoder/train.py")
    codes, printed = workers("single", 2).run()

    assert codes == [2, 2]
    assert "error: this model trains on one node: remove `nodes` from its entry" in printed[0]
