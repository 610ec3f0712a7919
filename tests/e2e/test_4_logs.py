"""Followed logs and kept logs, during an outage, a cancellation and an eviction."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.files.log_lines import UNHEARD
from tests.e2e.conftest import DATASET
from tests.e2e.support import Deployment, curl, eventually, kubectl
from tests.e2e.test_1_ends import send
from tests.e2e.test_2_faults import api_server_down

EPOCHS = 1500  # trains long enough to restart an API server meanwhile
EVENTS = "Accept: text/event-stream"


@contextmanager
def following(backend: Deployment, experiment_id: str, *options: str) -> Iterator[list[bytes]]:
    """Follow a log with curl until its end; the list holds its lines after the block."""
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


def log_of(backend: Deployment, experiment_id: str) -> list[bytes]:
    answer = send(backend, "GET", f"{experiment_id}/logs")
    assert answer.status == 200, answer
    return answer.body.splitlines()


def whole_log_of(backend: Deployment, experiment_id: str) -> list[bytes]:
    """Wait until the kept log is complete, and return it."""
    eventually(
        lambda: b"".join(log_of(backend, experiment_id)[-1:]).startswith(b"finished"),
        seconds=60,
        what=f"the log of {experiment_id!r} is complete",
        explain=backend.explain,
    )
    log = log_of(backend, experiment_id)
    assert_whole(log)
    return log


def assert_whole(log: list[bytes]) -> None:
    """Check a log of EPOCHS epochs, of which the trainer prints about a hundred."""
    epochs = [int(line.split()[1].split(b"/")[0]) for line in log if line.startswith(b"epoch ")]
    assert epochs == sorted(set(epochs))
    assert (epochs[0], epochs[-1]) == (1, EPOCHS)
    assert len(epochs) > 90
    assert log[-1].startswith(b"finished")


def test_followed_log_survives_an_outage(backend: Deployment, lab: Path) -> None:
    """Text and events that are followed during an outage of the API server equal the kept log."""
    assert backend.post("followed", epoch=EPOCHS, dataset=DATASET).status == 201
    with (
        following(backend, "followed") as text,
        following(backend, "followed", "--header", EVENTS) as events,
    ):
        backend.wait_for_epoch("followed", 50)
        with api_server_down(lab):
            time.sleep(2)  # the trainer prints meanwhile, and nobody can read it
        backend.wait_until("followed", "succeeded", seconds=180)

    kept = whole_log_of(backend, "followed")
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


def test_last_words_after_cancel_are_kept(backend: Deployment) -> None:
    """Or the log says that they are lost, as with the kubelet of Kubernetes 1.20 under load."""
    assert backend.post("interrupted", epoch=100_000, dataset=DATASET).status == 201
    backend.wait_for_epoch("interrupted", 50)
    with following(backend, "interrupted") as text:
        assert send(backend, "POST", "interrupted/cancel").status == 202
        backend.wait_until("interrupted", "cancelled", seconds=60)

    def last_words() -> bool:
        end = b"".join(log_of(backend, "interrupted")[-1:])
        return end == UNHEARD or end.startswith(b"stopped by signal 15")

    what = "the last line of the trainer is kept"
    eventually(last_words, seconds=60, what=what, explain=backend.explain)
    kept = log_of(backend, "interrupted")
    assert text == kept or kept[-1] == UNHEARD  # whoever followed may have heard more


def test_log_of_a_deleted_pod_is_kept(backend: Deployment) -> None:
    """The log continues with the output of the pod that replaces it."""
    assert backend.post("moved", epoch=EPOCHS, dataset=DATASET).status == 201
    with following(backend, "moved") as text:
        backend.wait_for_epoch("moved", 50)
        (pod,) = backend.pods_of("moved")
        kubectl("-n", backend.namespace, "delete", "pod", pod["metadata"]["name"])
        backend.wait_until("moved", "succeeded", seconds=180)

    kept = whole_log_of(backend, "moved")
    for words in (b"stopped by signal 15", b"resuming after epoch"):
        assert sum(words in line for line in kept) == 1, words
    assert text == kept
