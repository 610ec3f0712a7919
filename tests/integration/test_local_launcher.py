"""Runs as processes of this machine: slots, signals, and deaths of every process involved."""

import fcntl
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from backend.launchers.base import LauncherRefused, LauncherUnavailable, Phase
from backend.launchers.local.launcher import LocalLauncher
from backend.settings import Settings
from tests.integration.twins import A_RUN, TRAINER, LocalTwin, processes_of
from tests.integration.waiting import eventually

CONTRACT = {"EXPERIMENT_ID", "LEARNING_RATE", "EPOCH", "ATTEMPT", "INPUT_DIR", "OUTPUT_DIR"}
SECRETS = ("DB_PASSWORD", "DB_URL", "API_TOKEN", "DB_PASSWORD_FILE", "KUBECONFIG", "SECRET_KEY")


@pytest.fixture
def twin(environ):
    twin = LocalTwin(environ)
    yield twin
    twin.close()


@pytest.fixture
def launcher(twin):
    return twin.launcher()


def phase_of(launcher, run):
    return launcher.observe()[run.handle].phase


def reaches(launcher, run, phase):
    eventually(lambda: phase_of(launcher, run) is phase)
    return launcher.observe()[run.handle]


def stands_in_line(twin, number):
    """Tell whether so many runners wait: one for a slot, the others for its place (Linux)."""
    if not (twin.state / "next").exists():
        return False
    line = (twin.state / "next").stat().st_ino
    locks = [lock for lock in Path("/proc/locks").read_text().splitlines() if f":{line} " in lock]
    return len(locks) == number


def pid_of_runner(twin, run):
    return json.loads((twin.state / run.handle / "runner.json").read_text())["pid"]


def submit_and_die(environ, run):
    """Submit from a server that is killed at once."""
    launcher = LocalLauncher(Settings.from_environment(environ), trainer=TRAINER)
    launcher.submit(launcher.render(run))
    os.kill(os.getpid(), signal.SIGKILL)


def test_runs_wait_for_the_one_slot_and_take_it_in_their_order(twin, launcher):
    runs = [twin.submitted(experiment_id="a")]
    twin.start(runs[0])
    for number, name in enumerate("bc", start=1):
        runs.append(twin.submitted(experiment_id=name))
        eventually(lambda number=number: stands_in_line(twin, number))

    for turn, run in enumerate(runs):
        reaches(launcher, run, Phase.RUNNING)
        assert [phase_of(launcher, one) for one in runs[turn + 1 :]] == [Phase.QUEUED] * (2 - turn)
        twin.end(run, 0)


def test_as_many_runs_train_as_there_are_slots(environ):
    # The test itself holds one of the three.
    twin = LocalTwin(environ | {"LOCAL_SLOTS": "3"})
    runs = [twin.submitted(experiment_id=name) for name in "abc"]
    launcher = twin.launcher()

    def phases():
        return sorted(phase_of(launcher, run) for run in runs)

    eventually(lambda: phases().count(Phase.RUNNING) == 2 and stands_in_line(twin, 1))
    assert phases() == [Phase.QUEUED, Phase.RUNNING, Phase.RUNNING]
    twin.close()


def test_a_run_outlives_the_server_that_started_it(twin, launcher, environ):
    server = multiprocessing.get_context("forkserver").Process(
        target=submit_and_die, args=(environ, A_RUN)
    )
    server.start()
    server.join()
    assert server.exitcode == -signal.SIGKILL

    assert phase_of(launcher, A_RUN) is Phase.QUEUED
    twin.start(A_RUN)
    reaches(launcher, A_RUN, Phase.RUNNING)
    twin.end(A_RUN, 0)

    assert phase_of(twin.launcher(), A_RUN) is Phase.SUCCEEDED
    assert twin.starts(A_RUN) == 1


def test_a_killed_runner_takes_its_trainer_along_and_is_reported(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)

    os.kill(pid_of_runner(twin, A_RUN), signal.SIGKILL)

    seen = reaches(launcher, A_RUN, Phase.LOST)
    assert seen.diagnosis.reason == "process_lost"
    assert (twin.folder(A_RUN) / "stopped").exists()  # it got SIGTERM and could save its work


def test_a_run_is_not_lost_while_its_trainer_lives_though_its_runner_was_killed(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)
    twin.tell(A_RUN, "ignore SIGTERM")
    twin.say(A_RUN, "deaf")
    runner = pid_of_runner(twin, A_RUN)

    os.kill(runner, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{runner}").exists())

    assert phase_of(launcher, A_RUN) is Phase.RUNNING
    twin.submitted()  # by somebody who does not know that it was started
    assert phase_of(launcher, A_RUN) is Phase.RUNNING
    launcher.cancel(A_RUN.handle)
    reaches(launcher, A_RUN, Phase.LOST)
    assert twin.starts(A_RUN) == 1


def test_a_lost_run_that_is_submitted_again_begins_anew(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)
    os.kill(pid_of_runner(twin, A_RUN), signal.SIGKILL)
    reaches(launcher, A_RUN, Phase.LOST)

    with (twin.state / "slot-0").open("a") as slot:
        fcntl.flock(slot, fcntl.LOCK_EX)
        twin.submitted()
        assert phase_of(twin.launcher(), A_RUN) is Phase.QUEUED
        assert phase_of(launcher, A_RUN) is Phase.QUEUED
    eventually(lambda: twin.starts(A_RUN) == 2)


def test_a_queued_run_is_cancelled_without_ever_being_started(twin, launcher):
    twin.submitted()
    eventually(lambda: stands_in_line(twin, 1))

    launcher.cancel(A_RUN.handle)

    seen = reaches(launcher, A_RUN, Phase.CANCELLED)
    assert (seen.started_at, seen.diagnosis) == (None, None)
    assert twin.starts(A_RUN) == 0


def test_a_run_that_is_cancelled_at_once_is_cancelled_too(twin, launcher):
    twin.submitted()

    launcher.cancel(A_RUN.handle)  # its runner is hardly alive

    reaches(launcher, A_RUN, Phase.CANCELLED)
    assert twin.starts(A_RUN) == 0


def test_a_running_trainer_is_asked_to_stop(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)

    launcher.cancel(A_RUN.handle)

    seen = reaches(launcher, A_RUN, Phase.CANCELLED)
    assert seen.started_at <= seen.finished_at
    assert (twin.folder(A_RUN) / "stopped").exists()


def test_a_trainer_that_does_not_stop_is_killed_with_its_children(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)
    twin.tell(A_RUN, "ignore SIGTERM")
    twin.tell(A_RUN, "child")
    eventually(lambda: (twin.folder(A_RUN) / "child").exists())

    launcher.cancel(A_RUN.handle)

    reaches(launcher, A_RUN, Phase.CANCELLED)
    assert not (twin.folder(A_RUN) / "stopped").exists()
    eventually(lambda: processes_of(twin.settings.output_dir) == [])


def test_no_child_outlives_a_trainer_that_stops_when_asked(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)
    twin.tell(A_RUN, "child")
    eventually(lambda: (twin.folder(A_RUN) / "child").exists())

    launcher.cancel(A_RUN.handle)

    reaches(launcher, A_RUN, Phase.CANCELLED)
    eventually(lambda: processes_of(twin.settings.output_dir) == [])


def test_a_trainer_that_is_killed_fails_with_the_code_a_shell_gives(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)

    os.kill(int((twin.folder(A_RUN) / "starts").read_text()), signal.SIGKILL)

    seen = reaches(launcher, A_RUN, Phase.FAILED)
    assert seen.diagnosis.reason == "trainer_failed"
    assert "137" in seen.diagnosis.message


@pytest.mark.parametrize("dataset", [None, "digits.npz"])
def test_the_trainer_gets_the_contract_and_no_secret(twin, monkeypatch, dataset):
    for name in SECRETS:
        monkeypatch.setenv(name, f"{name}-precious")
    run = twin.submitted(dataset=dataset)
    twin.start(run)

    folder = twin.folder(run)
    environment = json.loads((folder / "environment.json").read_text())

    assert environment.get("DATASET") == dataset
    assert {name: environment[name] for name in CONTRACT} == {
        "EXPERIMENT_ID": "실험 1",
        "LEARNING_RATE": "0.001",
        "EPOCH": "20",
        "ATTEMPT": "1",
        "INPUT_DIR": str(twin.settings.input_dir),
        "OUTPUT_DIR": str(folder),
    }
    assert not set(SECRETS) & set(environment)
    assert "precious" not in json.dumps(environment)
    runner = Path(f"/proc/{pid_of_runner(twin, run)}/environ")
    assert "EXPERIMENT_ID" in runner.read_text()
    assert "precious" not in runner.read_text()


def test_the_results_of_a_forgotten_run_stay(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)
    twin.end(A_RUN, 0)

    launcher.delete_job(A_RUN)

    assert not (twin.state / A_RUN.handle).exists()
    assert (twin.folder(A_RUN) / "logs" / "1.log").exists()


def test_of_a_lost_run_that_is_forgotten_nothing_is_left(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)
    os.kill(pid_of_runner(twin, A_RUN), signal.SIGKILL)
    reaches(launcher, A_RUN, Phase.LOST)

    launcher.delete_job(A_RUN)

    assert launcher.observe() == {}
    assert not (twin.state / A_RUN.handle).exists()
    assert (twin.folder(A_RUN) / "logs" / "1.log").exists()


def test_a_lost_run_whose_trainer_lives_is_ended_before_it_is_forgotten(twin, launcher):
    twin.submitted()
    twin.start(A_RUN)
    twin.tell(A_RUN, "ignore SIGTERM")
    twin.say(A_RUN, "deaf")
    runner = pid_of_runner(twin, A_RUN)
    os.kill(runner, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{runner}").exists())

    launcher.delete_job(A_RUN)

    reaches(launcher, A_RUN, Phase.LOST)  # its state is not gone before it is
    launcher.delete_job(A_RUN)
    assert launcher.observe() == {}


def test_a_run_that_cannot_be_started_now_may_be_later(settings):
    launcher = LocalLauncher(settings, trainer=TRAINER)
    obstacle = settings.output_dir / ".local"
    obstacle.write_text("a file where the folder should be")

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(launcher.render(A_RUN))

    assert refusal.value.diagnosis.reason == "cannot_start"
    assert refusal.value.diagnosis.remedy


def test_without_its_trainer_a_run_is_refused(environ, tmp_path):
    launcher = LocalLauncher(Settings.from_environment(environ), trainer=tmp_path / "none.py")

    with pytest.raises(LauncherRefused) as error:
        launcher.submit(launcher.render(A_RUN))

    assert error.value.diagnosis.reason == "trainer_missing"
