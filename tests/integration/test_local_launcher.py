"""Attempts as local processes: slots, signals, and the death of every process involved."""

import fcntl
import json
import multiprocessing
import os
import shutil
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


def phase_of(launcher, attempt):
    return launcher.observe()[attempt.handle].phase


def reaches(launcher, attempt, phase):
    eventually(lambda: phase_of(launcher, attempt) is phase)
    return launcher.observe()[attempt.handle]


def are_waiting(harness, number):
    """Return whether `number` runners wait: one for a slot, the others behind it (Linux)."""
    if not (harness.state / "next").exists():
        return False
    line = (harness.state / "next").stat().st_ino
    locks = [lock for lock in Path("/proc/locks").read_text().splitlines() if f":{line} " in lock]
    return len(locks) == number


def pid_of_runner(harness, attempt):
    return json.loads((harness.state / attempt.handle / "runner.json").read_text())["pid"]


def submit_and_die(environ, attempt):
    """Submit from a process that is killed right after."""
    launcher = LocalLauncher(Settings.from_environment(environ), trainer=TRAINER)
    launcher.submit(launcher.render(attempt))
    os.kill(os.getpid(), signal.SIGKILL)


def test_slot_is_first_come_first_served(harness, launcher):
    attempts = [harness.submitted(experiment_id="a")]
    harness.start(attempts[0])
    for number, name in enumerate("bc", start=1):
        attempts.append(harness.submitted(experiment_id=name))
        eventually(lambda number=number: are_waiting(harness, number))

    for turn, attempt in enumerate(attempts):
        reaches(launcher, attempt, Phase.RUNNING)
        assert [phase_of(launcher, one) for one in attempts[turn + 1 :]] == [Phase.QUEUED] * (
            2 - turn
        )
        harness.end(attempt, 0)


def test_all_slots_are_used(environ):
    # The test itself holds one of the three.
    harness = LocalHarness(environ | {"LOCAL_SLOTS": "3"})
    attempts = [harness.submitted(experiment_id=name) for name in "abc"]
    launcher = harness.launcher()

    def phases():
        return sorted(phase_of(launcher, attempt) for attempt in attempts)

    eventually(lambda: phases().count(Phase.RUNNING) == 2 and are_waiting(harness, 1))
    assert phases() == [Phase.QUEUED, Phase.RUNNING, Phase.RUNNING]
    harness.close()


def test_attempt_survives_its_server(harness, launcher, environ):
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


def test_killed_runner(harness, launcher):
    """Its trainer is stopped too, and the attempt is reported as lost."""
    harness.submitted()
    harness.start(AN_ATTEMPT)

    os.kill(pid_of_runner(harness, AN_ATTEMPT), signal.SIGKILL)

    seen = reaches(launcher, AN_ATTEMPT, Phase.LOST)
    assert seen.diagnosis.reason == "process_lost"
    assert (
        harness.folder(AN_ATTEMPT) / "stopped"
    ).exists()  # it got SIGTERM and could save its work


def test_trainer_survives_its_runner(harness, launcher):
    """The attempt is not lost before its trainer has ended, too."""
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "ignore SIGTERM")
    harness.say(AN_ATTEMPT, "deaf")
    runner = pid_of_runner(harness, AN_ATTEMPT)

    os.kill(runner, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{runner}").exists())

    assert phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING
    harness.submitted()  # by a process that does not know that it was started
    assert phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING
    launcher.cancel(AN_ATTEMPT.handle)
    reaches(launcher, AN_ATTEMPT, Phase.LOST)
    assert harness.starts(AN_ATTEMPT) == 1


def test_lost_attempt_starts_again(harness, launcher):
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


def test_cancel_queued(harness, launcher):
    harness.submitted()
    eventually(lambda: are_waiting(harness, 1))

    launcher.cancel(AN_ATTEMPT.handle)

    seen = reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert (seen.started_at, seen.diagnosis) == (None, None)
    assert harness.starts(AN_ATTEMPT) == 0


def test_cancel_right_after_submit(harness, launcher):
    harness.submitted()

    launcher.cancel(AN_ATTEMPT.handle)  # its runner has hardly started

    reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert harness.starts(AN_ATTEMPT) == 0


def test_cancel_sends_sigterm(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    launcher.cancel(AN_ATTEMPT.handle)

    seen = reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert seen.started_at <= seen.finished_at
    assert (harness.folder(AN_ATTEMPT) / "stopped").exists()


def test_cancel_kills_stubborn_trainer(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "ignore SIGTERM")
    harness.order(AN_ATTEMPT, "child")
    eventually(lambda: (harness.folder(AN_ATTEMPT) / "child").exists())

    launcher.cancel(AN_ATTEMPT.handle)

    reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert not (harness.folder(AN_ATTEMPT) / "stopped").exists()
    eventually(lambda: processes_of(harness.settings.output_dir) == [])


def test_cancel_ends_children_too(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "child")
    eventually(lambda: (harness.folder(AN_ATTEMPT) / "child").exists())

    launcher.cancel(AN_ATTEMPT.handle)

    reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    eventually(lambda: processes_of(harness.settings.output_dir) == [])


def test_killed_trainer_has_code_137(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    os.kill(int((harness.folder(AN_ATTEMPT) / "starts").read_text()), signal.SIGKILL)

    seen = reaches(launcher, AN_ATTEMPT, Phase.FAILED)
    assert seen.diagnosis.reason == "trainer_failed"
    assert "137" in seen.diagnosis.message


@pytest.mark.parametrize("dataset", [None, "digits.npz"])
def test_trainer_environment(harness, monkeypatch, dataset):
    """The trainer gets the variables of the contract, and no secret of the server."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"{name}-precious")
    attempt = harness.submitted(dataset=dataset)
    harness.start(attempt)

    folder = harness.folder(attempt)
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
    runner = Path(f"/proc/{pid_of_runner(harness, attempt)}/environ")
    assert "EXPERIMENT_ID" in runner.read_text()
    assert "precious" not in runner.read_text()


def test_delete_job_keeps_results(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)

    launcher.delete_job(AN_ATTEMPT)

    assert not (harness.state / AN_ATTEMPT.handle).exists()
    assert (harness.folder(AN_ATTEMPT) / "logs" / "1.log").exists()


def test_delete_lost_job(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    os.kill(pid_of_runner(harness, AN_ATTEMPT), signal.SIGKILL)
    reaches(launcher, AN_ATTEMPT, Phase.LOST)

    launcher.delete_job(AN_ATTEMPT)

    assert launcher.observe() == {}
    assert not (harness.state / AN_ATTEMPT.handle).exists()
    assert (harness.folder(AN_ATTEMPT) / "logs" / "1.log").exists()


def test_delete_job_ends_its_trainer(harness, launcher):
    """The state is kept until the trainer of a killed runner has ended."""
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.order(AN_ATTEMPT, "ignore SIGTERM")
    harness.say(AN_ATTEMPT, "deaf")
    runner = pid_of_runner(harness, AN_ATTEMPT)
    os.kill(runner, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{runner}").exists())

    launcher.delete_job(AN_ATTEMPT)

    reaches(launcher, AN_ATTEMPT, Phase.LOST)  # its state is kept until then
    launcher.delete_job(AN_ATTEMPT)
    assert launcher.observe() == {}


def test_start_impossible_for_now(settings):
    launcher = LocalLauncher(settings, trainer=TRAINER)
    obstacle = settings.output_dir / ".local"
    obstacle.write_text("a file where the folder should be")

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(launcher.render(AN_ATTEMPT))

    assert refusal.value.diagnosis.reason == "cannot_start"
    assert refusal.value.diagnosis.remedy


def test_missing_trainer_is_refused(environ, tmp_path):
    launcher = LocalLauncher(Settings.from_environment(environ), trainer=tmp_path / "none.py")

    with pytest.raises(LauncherRefused) as error:
        launcher.submit(launcher.render(AN_ATTEMPT))

    assert error.value.diagnosis.reason == "trainer_missing"


def test_output_folder_made_again(settings):
    """It was removed and made again while the launcher was used."""
    launcher = LocalLauncher(settings, trainer=TRAINER)
    assert launcher.observe() == {}
    shutil.rmtree(settings.output_dir)
    with pytest.raises(LauncherUnavailable):
        launcher.observe()
    settings.output_dir.mkdir()

    assert launcher.observe() == {}
    assert (settings.output_dir / ".local").is_dir()


def test_linked_output_folder(environ, tmp_path):
    """It is a link: attempts start, and their folders are where it leads."""
    (tmp_path / "link").symlink_to(environ["OUTPUT_DIR"])
    harness = LocalHarness(environ | {"OUTPUT_DIR": str(tmp_path / "link")})
    try:
        launcher = harness.launcher()
        launcher.submit(launcher.render(AN_ATTEMPT))
        harness.start(AN_ATTEMPT)
        reaches(launcher, AN_ATTEMPT, Phase.RUNNING)

        assert (Path(environ["OUTPUT_DIR"]) / AN_ATTEMPT.experiment_id / "logs").is_dir()
        harness.end(AN_ATTEMPT, 0)
        reaches(launcher, AN_ATTEMPT, Phase.SUCCEEDED)
    finally:
        harness.close()
