"""An output folder that is full, read-only or gone."""

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
        """Remove the file system with its files, even if some are open."""
        self._run("umount", "--lazy", str(self.folder))

    @contextmanager
    def full(self):
        """Fill the file system."""
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
        """Return the sorted paths of all files and folders."""
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
    """A server that submits Jobs to the fake API server."""
    return backend("serve", LAUNCHER="kubernetes").ready()


@pytest.fixture
def harness(disk, environ):
    harness = LocalHarness(environ)
    yield harness
    harness.close()


def test_submit_on_full_disk(disk, on_kubernetes):
    """The form is refused and leaves nothing behind."""
    with disk.full():
        before = disk.content()
        answer = on_kubernetes.ask("/test", FORM)

        assert (answer.status, answer.json["status"]) == (507, 507)
        assert disk.content() == before
        assert on_kubernetes.ask("/model").json == []

    assert on_kubernetes.ask("/test", FORM).status == 201


def test_submit_on_read_only_disk(disk, on_kubernetes, kubernetes):
    with disk.read_only():
        assert on_kubernetes.ask("/test", FORM).status == 503
        assert on_kubernetes.ask("/model").json == []

    assert kubernetes.jobs() == {}
    assert on_kubernetes.ask("/test", FORM).status == 201


@pytest.mark.parametrize("state", ["full", "read_only"])
def test_retry_waits_for_the_disk(disk, on_kubernetes, kubernetes, state):
    """Other experiments reach their end meanwhile."""
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


def test_cancel_while_waiting_for_space(disk, on_kubernetes, kubernetes):
    job = on_kubernetes.ask("/test", FORM).json["job"]
    kubernetes.finish(kubernetes.run(job), 1)
    on_kubernetes.reaches("first", "failed")

    with disk.full():
        assert on_kubernetes.ask("/experiments/first/retry", {"": ""}).status == 202
        assert on_kubernetes.ask("/experiments/first/cancel", {"": ""}).status == 202
        on_kubernetes.reaches("first", "cancelled")

    assert list(kubernetes.jobs()) == [job]


def test_local_end_on_full_disk(disk, backend, harness):
    """The end of a trainer is recorded as soon as there is space again."""
    server = backend("serve").ready()
    assert server.ask("/test", FORM).status == 201
    attempt = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(attempt)
    server.reaches("first", "running")

    with disk.full():
        harness.order(attempt, "exit 0")
        assert server.ask("/test", SECOND).status == 507
        assert server.ask("/experiments/first").json["status"] == "running"

    server.reaches("first", "succeeded")
    assert server.ask("/test", SECOND).status == 201


def test_local_attempt_without_its_disk(disk, backend, harness):
    """The experiment has not failed: nothing is known of its trainer."""
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


@pytest.fixture
def temporary(tmp_path):
    """A small disk for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    disk = SmallDisk(folder)
    yield disk
    disk.unmount()


def get_much(server):
    """Send requests of many methods, routes and statuses, and check that all are answered."""
    paths = ("/", "/model", "/ui", "/docs", "/inputs", "/experiments", "/nothing", "/metrics")
    for _ in range(5):
        for path in paths:
            assert server.ask(path).status in (200, 404)
        for number in range(20):
            assert server.ask(f"/experiments/{number}/metrics").status == 404


@pytest.mark.parametrize("accident", ["full", "emptied", "truncated"])
def test_accidents_of_temporary_files(temporary, backend, environ, accident):
    """Requests are counted in memory: no file can be lost, truncated or without space."""
    server = backend("web", TMPDIR=str(temporary.folder)).ready()
    server.ask("/")
    files = [path for path in temporary.folder.rglob("*") if path.is_file()]
    for path in files:
        if accident == "truncated":
            path.write_bytes(b"")
        elif accident == "emptied":
            path.unlink()
    if accident == "full":
        with temporary.full():
            get_much(server)
    else:
        get_much(server)

    assert 'route="/",status="200"' in server.ask("/metrics").content.decode()
    assert "was terminated" not in server.stderr
