"""Logs that are followed through a whole run, and what is kept of them."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import DATASET
from tests.e2e.kit import Deployment, curl, eventually, kubectl
from tests.e2e.test_1_ends import send
from tests.e2e.test_2_faults import api_server_down

EPOCHS = 1500  # enough to restart an API server in the middle
EVENTS = "Accept: text/event-stream"


@contextmanager
def following(backend: Deployment, experiment_id: str, *options: str) -> Iterator[list[bytes]]:
    """Follow a log with curl; what it printed until its end is there after the block."""
    command = ["curl", "--silent", "--no-buffer", "--max-time", "300", *options]
    url = f"{backend.url}/experiments/{experiment_id}/logs?follow=true"
    printed: list[bytes] = []
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE) as process:
        try:
            yield printed
            content, _ = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 0, f"curl: {process.returncode}\n{backend.explain()}"
    printed += content.splitlines()


def wait_for_epoch(backend: Deployment, experiment_id: str, epoch: int) -> None:
    eventually(
        lambda: backend.experiment(experiment_id)["progress"]["epoch"] >= epoch,
        seconds=90,
        what=f"epoch {epoch} of {experiment_id} is done",
        explain=backend.explain,
    )


def log_of(backend: Deployment, experiment_id: str) -> list[bytes]:
    answer = send(backend, "GET", f"{experiment_id}/logs")
    assert answer.status == 200, answer
    return answer.body.splitlines()


def assert_whole(log: list[bytes]) -> None:
    """Check a log of EPOCHS epochs: our trainer prints about a hundred of them."""
    epochs = [int(line.split()[1].split(b"/")[0]) for line in log if line.startswith(b"epoch ")]
    assert epochs == sorted(set(epochs))
    assert (epochs[0], epochs[-1]) == (1, EPOCHS)
    assert len(epochs) > 90
    assert log[-1].startswith(b"finished")


def test_a_followed_log_is_the_kept_log_whatever_the_api_server_does(
    backend: Deployment, lab: Path
) -> None:
    assert backend.post("followed", epoch=EPOCHS, dataset=DATASET).status == 201
    with (
        following(backend, "followed") as text,
        following(backend, "followed", "--header", EVENTS) as events,
    ):
        wait_for_epoch(backend, "followed", 50)
        with api_server_down(lab):
            time.sleep(2)  # of printing that nobody can read meanwhile
        backend.wait_until("followed", "succeeded", seconds=180)

    kept = log_of(backend, "followed")
    assert_whole(kept)
    assert text == kept
    data = [line.removeprefix(b"data: ") for line in events if line.startswith(b"data: ")]
    assert data[:-1] == kept
    ids = [int(line.removeprefix(b"id: ")) for line in events if line.startswith(b"id: ")]
    assert ids == list(range(1, len(kept) + 1))
    assert b"event: end" in events
    again = curl(
        f"{backend.url}/experiments/followed/logs",
        *("--header", EVENTS, "--header", f"Last-Event-ID: {len(kept) - 1}"),
    )
    assert again is not None
    assert f"id: {len(kept)}\ndata: {kept[-1].decode()}\n\nevent: end".encode() in again.body


def test_the_last_words_of_a_cancelled_run_are_kept(backend: Deployment) -> None:
    assert backend.post("interrupted", epoch=100_000, dataset=DATASET).status == 201
    wait_for_epoch(backend, "interrupted", 50)
    with following(backend, "interrupted") as text:
        assert send(backend, "POST", "interrupted/cancel").status == 202
        backend.wait_until("interrupted", "cancelled", seconds=60)

    def last_words() -> bool:
        return log_of(backend, "interrupted")[-1].startswith(b"stopped by signal 15")

    what = "what the trainer printed last is kept"
    eventually(last_words, seconds=60, what=what, explain=backend.explain)
    assert text == log_of(backend, "interrupted")


def test_what_a_pod_printed_that_was_deleted_while_its_run_goes_on_is_kept(
    backend: Deployment,
) -> None:
    assert backend.post("moved", epoch=EPOCHS, dataset=DATASET).status == 201
    with following(backend, "moved") as text:
        wait_for_epoch(backend, "moved", 50)
        (pod,) = backend.pods_of("moved")
        kubectl("-n", backend.namespace, "delete", "pod", pod["metadata"]["name"])
        backend.wait_until("moved", "succeeded", seconds=180)

    kept = log_of(backend, "moved")
    for words in (b"stopped by signal 15", b"resuming after epoch"):
        assert sum(words in line for line in kept) == 1, words
    assert_whole(kept)
    assert text == kept
