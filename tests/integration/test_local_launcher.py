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
from tests.integration.launcher_harness import AN_ATTEMPT, TRAINER, LocalHarness, processes_of
from tests.integration.waiting import eventually

CONTRACT = {"EXPERIMENT_ID", "LEARNING_RATE", "EPOCH", "ATTEMPT", "INPUT_DIR", "OUTPUT_DIR"}
SECRETS = ("DB_PASSWORD", "DB_URL", "API_TOKEN", "DB_PASSWORD_FILE", "KUBECONFIG", "SECRET_KEY")


@pytest.fixture
def harness(environ):
    harness = LocalHarness(environ)
    yield harness
    harness.close()


@pytest.fixture
def launcher(harness):
    return harness.launcher()


def phase_of(launcher, run):
    return launcher.observe()[run.handle].phase


def reaches(launcher, run, phase):
    eventually(lambda: phase_of(launcher, run) is phase)
    return launcher.observe()[run.handle]


def stands_in_line(harness, number):
    """Tell whether so many runners wait: one for a slot, the others for its place (Linux)."""
    if not (harness.state / "next").exists():
        return False
    line = (harness.state / "next").stat().st_ino
    locks = [lock for lock in Path("/proc/locks").read_text().splitlines() if f":{line} " in lock]
    return len(locks) == number


def pid_of_runner(harness, run):
    return json.loads((harness.state / run.handle / "runner.json").read_text())["pid"]


def submit_and_die(environ, run):
    """Submit from a server that is killed at once."""
    launcher = LocalLauncher(Settings.from_environment(environ), trainer=TRAINER)
    launcher.submit(launcher.render(run))
    os.kill(os.getpid(), signal.SIGKILL)


def test_runs_wait_for_the_one_slot_and_take_it_in_their_order(harness, launcher):
    runs = [harness.submitted(experiment_id="a")]
    harness.start(runs[0])
    for number, name in enumerate("bc", start=1):
        runs.append(harness.submitted(experiment_id=name))
        eventually(lambda number=number: stands_in_line(harness, number))

    for turn, run in enumerate(runs):
        reaches(launcher, run, Phase.RUNNING)
        assert [phase_of(launcher, one) for one in runs[turn + 1 :]] == [Phase.QUEUED] * (2 - turn)
        harness.end(run, 0)


def test_as_many_runs_train_as_there_are_slots(environ):
    # The test itself holds one of the three.
    harness = LocalHarness(environ | {"LOCAL_SLOTS": "3"})
    runs = [harness.submitted(experiment_id=name) for name in "abc"]
    launcher = harness.launcher()

    def phases():
        return sorted(phase_of(launcher, run) for run in runs)

    eventually(lambda: phases().count(Phase.RUNNING) == 2 and stands_in_line(harness, 1))
    assert phases() == [Phase.QUEUED, Phase.RUNNING, Phase.RUNNING]
    harness.close()


def test_a_run_outlives_the_server_that_started_it(harness, launcher, environ):
    server = multiprocessing.get_context("forkserver").Process(
        target=submit_and_die, args=(environ, AN_ATTEMPT)
    )
    server.start()
    server.join()
    assert server.exitcode == -signal.SIGKILL

    assert phase_of(launcher, AN_ATTEMPT) is Phase.QUEUED
    harness.start(AN_ATTEMPT)
    reaches(launcher, AN_ATTEMPT, Phase.RUNNING)
    harness.end(AN_ATTEMPT, 0)

    assert phase_of(harness.launcher(), AN_ATTEMPT) is Phase.SUCCEEDED
    assert harness.starts(AN_ATTEMPT) == 1


def test_a_killed_runner_takes_its_trainer_along_and_is_reported(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    os.kill(pid_of_runner(harness, AN_ATTEMPT), signal.SIGKILL)

    seen = reaches(launcher, AN_ATTEMPT, Phase.LOST)
    assert seen.diagnosis.reason == "process_lost"
    assert (
        harness.folder(AN_ATTEMPT) / "stopped"
    ).exists()  # it got SIGTERM and could save its work


def test_a_run_is_not_lost_while_its_trainer_lives_though_its_runner_was_killed(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "ignore SIGTERM")
    harness.say(AN_ATTEMPT, "deaf")
    runner = pid_of_runner(harness, AN_ATTEMPT)

    os.kill(runner, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{runner}").exists())

    assert phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING
    harness.submitted()  # by somebody who does not know that it was started
    assert phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING
    launcher.cancel(AN_ATTEMPT.handle)
    reaches(launcher, AN_ATTEMPT, Phase.LOST)
    assert harness.starts(AN_ATTEMPT) == 1


def test_a_lost_run_that_is_submitted_again_begins_anew(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    os.kill(pid_of_runner(harness, AN_ATTEMPT), signal.SIGKILL)
    reaches(launcher, AN_ATTEMPT, Phase.LOST)

    with (harness.state / "slot-0").open("a") as slot:
        fcntl.flock(slot, fcntl.LOCK_EX)
        harness.submitted()
        assert phase_of(harness.launcher(), AN_ATTEMPT) is Phase.QUEUED
        assert phase_of(launcher, AN_ATTEMPT) is Phase.QUEUED
    eventually(lambda: harness.starts(AN_ATTEMPT) == 2)


def test_a_queued_run_is_cancelled_without_ever_being_started(harness, launcher):
    harness.submitted()
    eventually(lambda: stands_in_line(harness, 1))

    launcher.cancel(AN_ATTEMPT.handle)

    seen = reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert (seen.started_at, seen.diagnosis) == (None, None)
    assert harness.starts(AN_ATTEMPT) == 0


def test_a_run_that_is_cancelled_at_once_is_cancelled_too(harness, launcher):
    harness.submitted()

    launcher.cancel(AN_ATTEMPT.handle)  # its runner is hardly alive

    reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert harness.starts(AN_ATTEMPT) == 0


def test_a_running_trainer_is_asked_to_stop(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    launcher.cancel(AN_ATTEMPT.handle)

    seen = reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert seen.started_at <= seen.finished_at
    assert (harness.folder(AN_ATTEMPT) / "stopped").exists()


def test_a_trainer_that_does_not_stop_is_killed_with_its_children(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "ignore SIGTERM")
    harness.order(AN_ATTEMPT, "child")
    eventually(lambda: (harness.folder(AN_ATTEMPT) / "child").exists())

    launcher.cancel(AN_ATTEMPT.handle)

    reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert not (harness.folder(AN_ATTEMPT) / "stopped").exists()
    eventually(lambda: processes_of(harness.settings.output_dir) == [])


def test_no_child_outlives_a_trainer_that_stops_when_asked(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "child")
    eventually(lambda: (harness.folder(AN_ATTEMPT) / "child").exists())

    launcher.cancel(AN_ATTEMPT.handle)

    reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    eventually(lambda: processes_of(harness.settings.output_dir) == [])


def test_a_trainer_that_is_killed_fails_with_the_code_a_shell_gives(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    os.kill(int((harness.folder(AN_ATTEMPT) / "starts").read_text()), signal.SIGKILL)

    seen = reaches(launcher, AN_ATTEMPT, Phase.FAILED)
    assert seen.diagnosis.reason == "trainer_failed"
    assert "137" in seen.diagnosis.message


@pytest.mark.parametrize("dataset", [None, "digits.npz"])
def test_the_trainer_gets_the_contract_and_no_secret(harness, monkeypatch, dataset):
    for name in SECRETS:
        monkeypatch.setenv(name, f"{name}-precious")
    run = harness.submitted(dataset=dataset)
    harness.start(run)

    folder = harness.folder(run)
    environment = json.loads((folder / "environment.json").read_text())

    assert environment.get("DATASET") == dataset
    assert {name: environment[name] for name in CONTRACT} == {
        "EXPERIMENT_ID": "실험 1",
        "LEARNING_RATE": "0.001",
        "EPOCH": "20",
        "ATTEMPT": "1",
        "INPUT_DIR": str(harness.settings.input_dir),
        "OUTPUT_DIR": str(folder),
    }
    assert not set(SECRETS) & set(environment)
    assert "precious" not in json.dumps(environment)
    runner = Path(f"/proc/{pid_of_runner(harness, run)}/environ")
    assert "EXPERIMENT_ID" in runner.read_text()
    assert "precious" not in runner.read_text()


def test_the_results_of_a_forgotten_run_stay(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)

    launcher.delete_job(AN_ATTEMPT)

    assert not (harness.state / AN_ATTEMPT.handle).exists()
    assert (harness.folder(AN_ATTEMPT) / "logs" / "1.log").exists()


def test_of_a_lost_run_that_is_forgotten_nothing_is_left(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    os.kill(pid_of_runner(harness, AN_ATTEMPT), signal.SIGKILL)
    reaches(launcher, AN_ATTEMPT, Phase.LOST)

    launcher.delete_job(AN_ATTEMPT)

    assert launcher.observe() == {}
    assert not (harness.state / AN_ATTEMPT.handle).exists()
    assert (harness.folder(AN_ATTEMPT) / "logs" / "1.log").exists()


def test_a_lost_run_whose_trainer_lives_is_ended_before_it_is_forgotten(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "ignore SIGTERM")
    harness.say(AN_ATTEMPT, "deaf")
    runner = pid_of_runner(harness, AN_ATTEMPT)
    os.kill(runner, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{runner}").exists())

    launcher.delete_job(AN_ATTEMPT)

    reaches(launcher, AN_ATTEMPT, Phase.LOST)  # its state is not gone before it is
    launcher.delete_job(AN_ATTEMPT)
    assert launcher.observe() == {}


def test_a_run_that_cannot_be_started_now_may_be_later(settings):
    launcher = LocalLauncher(settings, trainer=TRAINER)
    obstacle = settings.output_dir / ".local"
    obstacle.write_text("a file where the folder should be")

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(launcher.render(AN_ATTEMPT))

    assert refusal.value.diagnosis.reason == "cannot_start"
    assert refusal.value.diagnosis.remedy


def test_without_its_trainer_a_run_is_refused(environ, tmp_path):
    launcher = LocalLauncher(Settings.from_environment(environ), trainer=tmp_path / "none.py")

    with pytest.raises(LauncherRefused) as error:
        launcher.submit(launcher.render(AN_ATTEMPT))

    assert error.value.diagnosis.reason == "trainer_missing"
