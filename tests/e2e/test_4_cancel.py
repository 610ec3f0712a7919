"""Cancelling at every moment of a start: what was printed is kept, and it ends soon.

CANCEL_TIMES=20 repeats each moment 20 times; `pytest -s` shows how many logs were whole and how
long it took until `cancelled`.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import DATASET, Images, Stage, build
from tests.e2e.support import ROOT, Deployment, edit, eventually
from tests.e2e.test_1_ends import send

TIMES = int(os.environ.get("CANCEL_TIMES", "2"))
MOMENTS = (0.3, 0.6, 1.0, 2.0, 10.0)  # seconds after the POST was answered
SECONDS = 90  # the kubelet of Kubernetes 1.20 may take a minute to end a pod that starts
ORDER = ["submitting", "queued", "running", "cancelled"]


@pytest.fixture(scope="module")
def deaf(
    stage: Stage, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The backend, training with an image that handles no signal."""
    checkout = tmp_path_factory.mktemp("deaf")
    (checkout / "backend").mkdir()
    for name in ("build.sh", "backend/__init__.py"):
        shutil.copy(ROOT / name, checkout / name)
    for folder in (checkout, checkout / "models/autoencoder"):
        shutil.copytree(ROOT / "tests/e2e/deaf", folder, dirs_exist_ok=True)
    _, image, _ = build(str(checkout / "build.sh"), f"{images.tag}-deaf")
    yield stage.train_with(image)
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
    """Return whether the log ends with what the trainer prints last, if it printed anything."""
    log = log_of(backend, experiment_id)
    if not log:
        return "metrics.jsonl" not in backend.results(experiment_id)
    return log[-1].startswith("stopped by signal 15")


def cancel_at(
    backend: Deployment,
    moment: float,
    name: str,
    is_whole: Callable[[Deployment, str], bool],
) -> None:
    """Cancel TIMES experiments, each `moment` seconds after its POST, and check their ends."""
    took, whole = [], 0
    for number in range(TIMES):
        experiment_id = f"{name}-{moment}-{number}"
        assert backend.post(experiment_id, epoch=100_000, dataset=DATASET).status == 201
        time.sleep(moment)
        begun = time.monotonic()
        assert send(backend, "POST", f"{experiment_id}/cancel").status == 202
        experiment = backend.wait_until(experiment_id, "cancelled", seconds=SECONDS)
        took.append(time.monotonic() - begun)
        steps = [step["to_status"] for step in experiment["history"]]
        assert steps == [step for step in ORDER if step in steps]
        try:
            eventually(
                lambda experiment_id=experiment_id: is_whole(backend, experiment_id),
                seconds=10,
                what="the log is whole",
                explain=lambda experiment_id=experiment_id: "\n".join(
                    log_of(backend, experiment_id)[-5:]
                ),
            )
            whole += 1
        except AssertionError as error:
            print(f"\n{experiment_id}: {error}")
    seconds = f"{min(took):.1f} to {max(took):.1f} s, median {sorted(took)[len(took) // 2]:.1f} s"
    slow = sum(each > 3 for each in took)
    print(f"\n{name}, {moment} s: {whole} of {TIMES} whole; {seconds}; {slow} over 3 s")
    assert whole == TIMES


@pytest.mark.parametrize("moment", MOMENTS)
def test_last_words_are_kept(backend: Deployment, moment: float) -> None:
    cancel_at(backend, moment, "hears", has_last_words)


@pytest.mark.parametrize("moment", MOMENTS)
def test_output_is_kept_without_a_handler(deaf: Deployment, moment: float) -> None:
    cancel_at(deaf, moment, "deaf", has_all_numbers)
