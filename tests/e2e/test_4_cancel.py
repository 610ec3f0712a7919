"""Cancelling at every moment of a start: what was printed is kept, or the log says it is lost.

It is lost where the kubelet does not report a container that starts while its pod is deleted, as
that of Kubernetes 1.20.

CANCEL_TIMES=20 repeats each moment 20 times; `pytest -s` shows how many logs were whole and how
long it took until `cancelled`.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.files.log_lines import UNHEARD
from tests.e2e.conftest import DATASET, Images, Stage, build_trainer
from tests.e2e.support import Deployment, edit
from tests.e2e.test_1_ends import send

TIMES = int(os.environ.get("CANCEL_TIMES", "2"))
MOMENTS = (0.3, 0.6, 1.0, 2.0, 10.0)  # seconds after the POST was answered
SIDE_BY_SIDE = 4
SECONDS = 180  # the kubelet of Kubernetes 1.20 may take a minute to end a pod that starts
IsWhole = Callable[[Deployment, str], bool]
ORDER = ["submitting", "queued", "running", "cancelled"]


@pytest.fixture(scope="module")
def deaf(
    stage: Stage, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The backend, training with an image that handles no signal."""
    yield stage.train_with(build_trainer("deaf", images.tag, tmp_path_factory.mktemp("deaf")))
    edit(stage.yaml / "4_pod.yaml", "the model image", images.model)
    stage.remove_backend()


def log_of(backend: Deployment, experiment_id: str) -> list[str]:
    answer = send(backend, "GET", f"{experiment_id}/logs")
    assert answer.status == 200, answer
    return answer.body.decode().splitlines()


def has_all_numbers(backend: Deployment, experiment_id: str) -> bool:
    """Return whether the log has every number that was written down after it was printed."""
    written = int(backend.results(experiment_id).get("printed") or 0)
    numbers = log_of(backend, experiment_id)
    expected = [str(number) for number in range(1, len(numbers) + 1)]
    return numbers == expected and len(numbers) >= written


def has_last_words(backend: Deployment, experiment_id: str) -> bool:
    """Return whether the log ends with what the trainer prints last, once it has begun to train.

    Before that, it ends without a word.
    """
    log = log_of(backend, experiment_id)
    if "metrics.jsonl" in backend.results(experiment_id):
        return bool(log) and log[-1].startswith("stopped by signal 15")
    return all("samples of" in line for line in log)


def cancel_one(
    backend: Deployment, moment: float, experiment_id: str, is_whole: IsWhole
) -> tuple[float, str]:
    """Cancel an experiment `moment` seconds after its POST.

    Returns:
        The seconds until it was `cancelled`, and what its log is: whole, cut (it says so), or
        lost.
    """
    assert backend.post(experiment_id, epoch=100_000, dataset=DATASET).status == 201
    time.sleep(moment)
    begun = time.monotonic()
    assert send(backend, "POST", f"{experiment_id}/cancel").status == 202
    experiment = backend.wait_until(experiment_id, "cancelled", seconds=SECONDS)
    took = time.monotonic() - begun
    steps = [step["to_status"] for step in experiment["history"]]
    assert steps == [step for step in ORDER if step in steps]
    deadline = time.monotonic() + 10  # the process that reads the log may still write it
    while not is_whole(backend, experiment_id):
        if time.monotonic() > deadline:
            end = log_of(backend, experiment_id)[-1:]
            return took, "cut" if end == [UNHEARD.decode()] else "lost"
        time.sleep(0.2)
    return took, "whole"


def cancel_at(backend: Deployment, moment: float, name: str, is_whole: IsWhole) -> None:
    """Cancel TIMES experiments, SIDE_BY_SIDE at once, and check their ends."""
    names = [f"{name}-{moment}-{number}" for number in range(TIMES)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ends = list(pool.map(lambda each: cancel_one(backend, moment, each, is_whole), names))
    took, logs = sorted(seconds for seconds, _ in ends), Counter(log for _, log in ends)
    slow = sum(seconds > 3 for seconds in took)
    seconds = f"{took[0]:.1f} to {took[-1]:.1f} s, median {took[len(took) // 2]:.1f} s"
    print(f"\n{name}, {moment} s: {dict(logs)}; {seconds}; {slow} over 3 s")
    assert not logs["lost"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_last_words_are_kept(backend: Deployment, moment: float) -> None:
    cancel_at(backend, moment, "hears", has_last_words)


@pytest.mark.parametrize("moment", MOMENTS)
def test_output_is_kept_without_a_handler(deaf: Deployment, moment: float) -> None:
    cancel_at(deaf, moment, "deaf", has_all_numbers)
