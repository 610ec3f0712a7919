"""An output folder that is full, read-only or gone: nothing is started, lost or left by half."""

import subprocess
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.launcher_harness import AN_ATTEMPT, LocalHarness
from tests.integration.waiting import eventually

FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}
SECOND = FORM | {"experiment_id": "second"}


class SmallDisk:
    """A file system of 1 MB, mounted at a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.mount()

    def mount(self):
        self._run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(self.folder))

    def unmount(self):
        """Take it away with what is on it, whoever has files open."""
        self._run("umount", "--lazy", str(self.folder))

    @contextmanager
    def full(self):
        """Leave no byte free."""
        ballast = self.folder / ".ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self):
        """Make it read-only, which the kernel refuses while a file is open for writing."""
        eventually(lambda: self._is_remounted("ro"))
        try:
            yield
        finally:
            assert self._is_remounted("rw")

    def content(self):
        """Name all that is there."""
        return sorted(path.relative_to(self.folder) for path in self.folder.rglob("*"))

    def _is_remounted(self, option):
        command = ["mount", "-o", f"remount,{option}", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _run(self, *command):
        subprocess.run(command, check=True, capture_output=True)


pytestmark = pytest.mark.needs("root")


@pytest.fixture
def disk(environ):
    disk = SmallDisk(environ["OUTPUT_DIR"])
    yield disk
    disk.unmount()


@pytest.fixture
def on_kubernetes(disk, backend, kubernetes):
    """Give a server whose runs are Jobs of the fake API server."""
    return backend("serve", LAUNCHER="kubernetes").ready()


@pytest.fixture
def harness(disk, environ):
    harness = LocalHarness(environ)
    yield harness
    harness.close()


def test_a_form_is_refused_while_there_is_no_space_and_leaves_nothing(disk, on_kubernetes):
    with disk.full():
        before = disk.content()
        answer = on_kubernetes.ask("/test", FORM)

        assert (answer.status, answer.json["status"]) == (507, 507)
        assert disk.content() == before
        assert on_kubernetes.ask("/model").json == []

    assert on_kubernetes.ask("/test", FORM).status == 201


def test_a_form_is_refused_while_nothing_can_be_written(disk, on_kubernetes, kubernetes):
    with disk.read_only():
        assert on_kubernetes.ask("/test", FORM).status == 503
        assert on_kubernetes.ask("/model").json == []

    assert kubernetes.jobs() == {}
    assert on_kubernetes.ask("/test", FORM).status == 201


@pytest.mark.parametrize("state", ["full", "read_only"])
def test_other_runs_go_on_and_a_retry_waits(disk, on_kubernetes, kubernetes, state):
    jobs = [on_kubernetes.ask("/test", form).json["job"] for form in (FORM, SECOND)]
    pods = [kubernetes.run(job) for job in jobs]

    with getattr(disk, state)():
        kubernetes.finish(pods[0], 0)
        kubernetes.finish(pods[1], 1)
        on_kubernetes.reaches("first", "succeeded")
        on_kubernetes.reaches("second", "failed")

        answer = on_kubernetes.ask("/experiments/second/retry", {"": ""})

        reason = {"full": "output_full", "read_only": "output_unwritable"}[state]
        assert (answer.status, answer.json["status"]) == (202, "submitting")
        assert answer.json["diagnosis"]["reason"] == reason
        assert list(kubernetes.jobs()) == jobs

    retried = on_kubernetes.reaches("second", "queued")
    assert retried["attempt"] == 2
    assert retried["diagnosis"] is None


def test_a_run_that_waits_for_space_can_be_cancelled(disk, on_kubernetes, kubernetes):
    job = on_kubernetes.ask("/test", FORM).json["job"]
    kubernetes.finish(kubernetes.run(job), 1)
    on_kubernetes.reaches("first", "failed")

    with disk.full():
        assert on_kubernetes.ask("/experiments/first/retry", {"": ""}).status == 202
        assert on_kubernetes.ask("/experiments/first/cancel", {"": ""}).status == 202
        on_kubernetes.reaches("first", "cancelled")

    assert list(kubernetes.jobs()) == [job]


def test_a_local_run_that_ends_while_there_is_no_space_has_its_end(disk, backend, harness):
    server = backend("serve").ready()
    assert server.ask("/test", FORM).status == 201
    run = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(run)
    server.reaches("first", "running")

    with disk.full():
        harness.order(run, "exit 0")
        assert server.ask("/test", SECOND).status == 507
        assert server.ask("/experiments/first").json["status"] == "running"

    server.reaches("first", "succeeded")
    assert server.ask("/test", SECOND).status == 201


def test_a_local_run_whose_disk_is_gone_has_not_failed(disk, backend, harness):
    server = backend("serve").ready()
    assert server.ask("/test", FORM).status == 201
    harness.start(replace(AN_ATTEMPT, experiment_id="first"))
    server.reaches("first", "running")

    disk.unmount()
    try:
        eventually(lambda: "Cannot reconcile" in server.stderr)
        assert server.ask("/experiments/first").json["status"] == "running"
    finally:
        disk.mount()
