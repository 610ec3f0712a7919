"""An experiment of several nodes on one machine: as many processes, which end together."""

import json
import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.domain.attempt import Attempt, Program
from backend.launchers.base import Phase
from backend.launchers.exit_codes import EXIT_PEER_LOST
from backend.launchers.local import gang_runner
from backend.launchers.local.launcher import LocalLauncher
from backend.launchers.local.state_files import pid_in
from backend.settings import Settings
from tests.integration.launcher_harness import kill_local_runs, processes_of
from tests.integration.waiting import eventually

TRAINER = Path(__file__).parents[2] / "fakes" / "gang_trainer.py"
CONV_AUTOENCODER = Path(__file__).parents[3] / "models" / "conv-autoencoder" / "train.py"
PROGRAM = Program(command=("python", "-u", str(TRAINER)))
GANG = Attempt("gang", "uid-1", "own", 0.001, 1, None, 1, nodes=2, program=PROGRAM)


def attempt(experiment_id, nodes=2, number=1):
    uid = f"uid-{experiment_id}"
    return Attempt(experiment_id, uid, "own", 0.001, 1, None, number, nodes=nodes, program=PROGRAM)


class LocalGangs:
    """A local launcher with some slots, whose trainers wait for orders."""

    def __init__(self, environ, slots=2, **more):
        environ = environ | {"LAUNCHER": "local", "LOCAL_SLOTS": str(slots)} | more
        self.settings = Settings.from_environment(environ)
        self.launcher = LocalLauncher(self.settings, trainer=TRAINER)

    def submit(self, one):
        return self.launcher.submit(self.launcher.render(one))

    def folder(self, one):
        return self.settings.output_dir / one.experiment_id

    def begun(self, one):
        """Wait until every worker of an attempt has begun, and return what they say."""
        paths = [self.folder(one) / f"worker-{rank}.json" for rank in range(one.nodes or 1)]
        eventually(lambda: all(path.exists() for path in paths))
        return [json.loads(path.read_text()) for path in paths]

    def order(self, one, rank, text):
        temporary = self.folder(one) / ".order"
        temporary.write_text(text)
        temporary.replace(self.folder(one) / f"order-{rank}")

    def seen(self, one):
        return self.launcher.observe([one.handle]).get(one.handle)

    def ended(self, one):
        """Wait for the end of an attempt, and return the observation."""
        state = self.settings.output_dir / ".local" / one.handle
        eventually((state / "exit.json").exists)
        return eventually(lambda: (seen := self.seen(one)) and seen.finished_at and seen)

    def log(self, one, rank=0):
        name = f"{one.number}-worker-{rank}.log" if rank else f"{one.number}.log"
        return (self.folder(one) / "logs" / name).read_text()


@pytest.fixture
def gangs(environ):
    made = []

    def make(**options):
        made.append(LocalGangs(environ, **options))
        return made[-1]

    yield make
    for one in made:
        one.launcher.close()
        kill_local_runs(one.settings.output_dir)


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_workers_have_what_torchrun_reads(gangs):
    local = gangs(slots=3)
    one = attempt("gang", 3)
    local.submit(one)
    workers = local.begun(one)

    assert [worker["NODE_RANK"] for worker in workers] == ["0", "1", "2"]
    assert {worker["NNODES"] for worker in workers} == {"3"}
    assert {worker["MASTER_ADDR"] for worker in workers} == {"127.0.0.1"}
    (port,) = {worker["MASTER_PORT"] for worker in workers}
    assert 1024 <= int(port) < 65536
    assert len({worker["pid"] for worker in workers}) == 3
    assert len({worker["session"] for worker in workers}) == 1
    assert local.seen(one).phase is Phase.RUNNING

    for rank in (1, 2, 0):
        local.order(one, rank, "exit 0")
    assert local.ended(one).phase is Phase.SUCCEEDED
    for rank in range(3):
        assert local.log(one, rank) == f"worker {rank} begins\nworker {rank} ends with 0\n"


def test_one_process_has_no_such_variables(gangs, monkeypatch):
    monkeypatch.setenv("NODE_RANK", "0")  # of the server, which passes on none of them
    local = gangs()
    rendered = local.launcher.render(attempt("single", None))

    assert not {"NODE_RANK", "NNODES", "MASTER_ADDR"} & rendered["environment"].keys()
    assert gang_runner.__file__ not in rendered["command"]


@pytest.mark.parametrize("rank", [0, 1])
def test_failure_of_one_ends_all(gangs, rank):
    local = gangs()
    local.submit(GANG)
    workers = local.begun(GANG)
    local.order(GANG, rank, "exit 3")

    seen = local.ended(GANG)
    assert seen.phase is Phase.FAILED
    assert seen.diagnosis.reason == "trainer_failed"
    assert "exited with code 3" in seen.diagnosis.message
    assert (local.folder(GANG) / f"stopped-{1 - rank}").exists()
    assert all(is_gone(worker["pid"]) for worker in workers)
    told = "error: worker 1 exited with code 3: worker 1 ends with 3\n"
    assert local.log(GANG).endswith(told) == (rank == 1)


def test_killed_worker_ends_all(gangs):
    local = gangs()
    local.submit(GANG)
    workers = local.begun(GANG)
    os.kill(workers[1]["pid"], signal.SIGKILL)

    seen = local.ended(GANG)
    assert seen.phase is Phase.FAILED
    assert "worker 1 exited with code 137: worker 1 begins" in seen.diagnosis.message
    assert all(is_gone(worker["pid"]) for worker in workers)


def test_worker_that_lost_another_is_not_to_blame(gangs):
    local = gangs()
    local.submit(GANG)
    local.begun(GANG)
    local.order(GANG, 0, f"exit {EXIT_PEER_LOST}")
    local.order(GANG, 1, "exit 2")

    seen = local.ended(GANG)
    assert seen.diagnosis.reason == "input_unusable"
    assert "worker 1 exited with code 2" in seen.diagnosis.message


def test_worker_that_lost_another_alone_ends_the_gang(gangs):
    local = gangs()
    local.submit(GANG)
    local.begun(GANG)
    local.order(GANG, 0, f"exit {EXIT_PEER_LOST}")

    assert f"exited with code {EXIT_PEER_LOST}" in local.ended(GANG).diagnosis.message
    assert (local.folder(GANG) / "stopped-1").exists()


def test_cancelled_gang_stops_as_a_whole(gangs):
    local = gangs()
    local.submit(GANG)
    workers = local.begun(GANG)
    local.launcher.cancel(GANG.handle)

    assert local.ended(GANG).phase is Phase.CANCELLED
    for rank, worker in enumerate(workers):
        assert (local.folder(GANG) / f"stopped-{rank}").exists()
        assert is_gone(worker["pid"])


@pytest.mark.parametrize("victim", ["runner", "gang runner"])
def test_nothing_is_left_of_a_gang_whose_runner_was_killed(gangs, victim):
    local = gangs()
    local.submit(GANG)
    workers = local.begun(GANG)
    state = local.settings.output_dir / ".local" / GANG.handle
    name = "runner.json" if victim == "runner" else "started.json"
    os.kill(eventually(lambda: pid_in(state / name)), signal.SIGKILL)

    eventually(lambda: all(is_gone(worker["pid"]) for worker in workers))
    seen = eventually(lambda: (one := local.seen(GANG)) and one.finished_at and one)
    assert seen.phase is (Phase.LOST if victim == "runner" else Phase.FAILED)


def test_gang_waits_for_all_of_its_slots_and_is_not_overtaken(gangs):
    local = gangs(slots=2)
    single, gang, later = attempt("single", None), attempt("gang"), attempt("later", None)
    for one in (single, gang, later):
        environment = {} if one.nodes else {"NODE_RANK": "0"}
        job = local.launcher.render(one)
        job["environment"] |= environment  # for the trainer of this test
        local.launcher.submit(job)
    local.begun(single)
    local.launcher.changes(0)
    assert local.seen(gang).phase is Phase.QUEUED
    assert local.seen(later).phase is Phase.QUEUED
    assert local.launcher.waiting(later.handle) == [gang.handle, later.handle]

    local.order(single, 0, "exit 0")
    local.ended(single)
    local.launcher.changes(0)
    local.begun(gang)
    assert local.seen(later).phase is Phase.QUEUED
    for rank in (0, 1):
        local.order(gang, rank, "exit 0")
    local.ended(gang)
    local.launcher.changes(0)
    local.begun(later)


def test_gang_larger_than_the_machine_trains_alone(gangs):
    local = gangs(slots=1)
    single = attempt("single", None)
    local.submit(GANG)
    local.begun(GANG)
    local.submit(single)
    assert local.seen(single).phase is Phase.QUEUED


def test_trainer_that_cannot_be_started(gangs):
    local = gangs()
    job = local.launcher.render(GANG)
    job["command"][-3:] = ["/nowhere"]
    local.launcher.submit(job)

    assert "the trainer cannot be started" in local.ended(GANG).diagnosis.message


def test_workers_ignore_no_signal(gangs):
    """Python ignores two of them, and what it starts would inherit that."""
    local = gangs()
    program = Program(command=("sh", "-c", "grep SigIgn /proc/self/status"))
    one = replace(attempt("signals"), program=program)
    local.submit(one)

    assert local.ended(one).phase is Phase.SUCCEEDED
    for rank in (0, 1):
        ignored = int(local.log(one, rank).split()[1], 16)
        assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_links_in_place_of_logs_are_not_followed(gangs, tmp_path):
    """An earlier attempt may have put anything there."""
    local = gangs()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    logs = local.folder(GANG) / "logs"
    logs.mkdir(parents=True)
    (logs / "1-worker-1.log").symlink_to(precious)
    local.submit(GANG)
    local.begun(GANG)
    local.order(GANG, 1, "exit 3")
    local.ended(GANG)

    assert precious.read_text() == "mine"
    assert "worker 1 begins" in local.log(GANG, 1)


def test_memory_of_a_gang_is_that_of_its_slots(gangs):
    """Whether its control group enforces it, or RLIMIT_DATA of each process."""
    mib = 2**20
    local = gangs(slots=2, LOCAL_MEMORY="256Mi")
    local.submit(GANG)
    local.begun(GANG)
    for rank in (0, 1):
        local.order(GANG, rank, "exit 0")

    assert local.ended(GANG).memory_limit in (2 * 256 * mib, 256 * mib)


def test_real_training_goes_on_after_a_worker_was_killed(gangs):
    """conv-autoencoder, as the server starts it: the next attempt repeats no epoch."""
    local = gangs()
    random = np.random.default_rng(1)
    np.save(local.settings.input_dir / "a.npy", random.normal(size=(200, 8, 8)))
    program = Program(command=("python", "-u", str(CONV_AUTOENCODER)))
    one = replace(attempt("real"), epoch=150, program=program)
    metrics = local.folder(one) / "metrics.jsonl"

    local.submit(one)
    eventually(lambda: metrics.exists() and metrics.read_text().count("\n") >= 5)
    victim = eventually(lambda: worker_of(local, one, rank=1))
    os.kill(victim, signal.SIGKILL)
    seen = local.ended(one)
    assert seen.phase is Phase.FAILED
    assert "worker 1 exited with code 137" in seen.diagnosis.message
    assert "another worker of this experiment is gone" in local.log(one)

    following = replace(one, number=2)
    local.submit(following)
    assert local.ended(following).phase is Phase.SUCCEEDED, local.log(following)
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, 151))
    assert "all have joined" in local.log(following, 1)


def worker_of(local, one, rank):
    """Return the process id of a worker, found by its environment (Linux)."""
    wanted = f"NODE_RANK={rank}".encode()
    for process in processes_of(local.folder(one)):
        with suppress(OSError):
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            if wanted in variables:
                return process
    return None
