"""Attempts as local processes: slots, signals, and the death of every process involved."""

import fcntl
import json
import multiprocessing
import os
import re
import resource
import shlex
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from backend import roles
from backend.domain.attempt import Program
from backend.domain.catalogue import as_json
from backend.launchers.base import LauncherRefused, LauncherUnavailable, Phase
from backend.launchers.local import memory, slots
from backend.launchers.local.launcher import LocalLauncher
from backend.settings import Settings
from tests.integration.launcher_harness import (
    AN_ATTEMPT,
    TRAINER,
    LocalHarness,
    kill_local_runs,
    processes_of,
)
from tests.integration.waiting import DEADLINE_SECONDS, eventually

CONTRACT = {"EXPERIMENT_ID", "LEARNING_RATE", "EPOCH", "ATTEMPT", "INPUT_DIR", "OUTPUT_DIR"}
SECRETS = ("DB_PASSWORD", "DB_URL", "API_TOKEN", "DB_PASSWORD_FILE", "KUBECONFIG", "SECRET_KEY")


@pytest.fixture
def launcher(harness):
    return harness.launcher()


def phase_of(launcher, attempt):
    return launcher.observe()[attempt.handle].phase


def reaches(launcher, attempt, phase):
    eventually(lambda: phase_of(launcher, attempt) is phase)
    return launcher.observe()[attempt.handle]


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
    attempts += [harness.submitted(experiment_id=name) for name in "cb"]

    for turn, attempt in enumerate(attempts):
        harness.fill_slots()
        reaches(launcher, attempt, Phase.RUNNING)
        assert [phase_of(launcher, one) for one in attempts[turn + 1 :]] == [Phase.QUEUED] * (
            2 - turn
        )
        harness.end(attempt, 0)


def test_order_does_not_depend_on_the_clock(harness, launcher):
    """The clock was set back by a day after the first submission."""
    attempts = [harness.submitted(experiment_id=name) for name in "ab"]
    job = harness.state / attempts[0].handle / "job.json"
    os.utime(job, (time.time() + 86400,) * 2)

    harness.start(attempts[0])

    assert phase_of(launcher, attempts[1]) is Phase.QUEUED


def test_waiting_attempts_have_no_process(harness, launcher):
    attempts = [harness.submitted(experiment_id=str(number)) for number in range(20)]

    assert processes_of(harness.settings.output_dir) == []
    assert {phase_of(launcher, attempt) for attempt in attempts} == {Phase.QUEUED}


def test_next_starts_when_a_slot_is_freed(harness, launcher):
    """One call of `changes`, made before the slot is free, starts the next attempt."""
    first, second = (harness.submitted(experiment_id=name) for name in "ab")
    harness.start(first)
    reaches(launcher, first, Phase.RUNNING)
    launcher.changes(0)
    with ThreadPoolExecutor() as background:
        waiting = background.submit(launcher.changes, DEADLINE_SECONDS)
        harness.end(first, 0)
        waiting.result(DEADLINE_SECONDS)

    reaches(launcher, second, Phase.RUNNING)


def test_next_starts_after_a_killed_runner(harness, launcher):
    """The runner could not report its end."""
    first, second = (harness.submitted(experiment_id=name) for name in "ab")
    harness.start(first)
    os.kill(pid_of_runner(harness, first), signal.SIGKILL)
    reaches(launcher, first, Phase.LOST)

    launcher.changes(0)

    reaches(launcher, second, Phase.RUNNING)


def test_all_slots_are_used(environ):
    # The test itself holds one of the three.
    harness = LocalHarness(environ | {"LOCAL_SLOTS": "3"})
    attempts = [harness.submitted(experiment_id=name) for name in "abc"]
    launcher = harness.launcher()

    def phases():
        return sorted(phase_of(launcher, attempt) for attempt in attempts)

    eventually(lambda: phases().count(Phase.RUNNING) == 2)
    assert phases() == [Phase.QUEUED, Phase.RUNNING, Phase.RUNNING]
    harness.close()


def test_fewer_slots_hold_at_the_next_start(environ):
    """Three attempts train; with one slot, the next one starts once all three have ended."""
    harness = LocalHarness(environ | {"LOCAL_SLOTS": "3"})
    *training, waiting = [harness.submitted(experiment_id=name) for name in "abcd"]
    for attempt in training:
        harness.start(attempt)
    launcher = LocalLauncher(
        Settings.from_environment(environ | {"LOCAL_SLOTS": "1"}), trainer=TRAINER
    )
    for attempt in training:
        assert phase_of(launcher, waiting) is Phase.QUEUED
        harness.end(attempt, 0)
        launcher.changes(0)

    reaches(launcher, waiting, Phase.RUNNING)
    harness.close()


def reboot(harness):
    """Kill every process of the launcher, as a reboot does."""
    kill_local_runs(harness.settings.output_dir)


def test_waiting_attempts_survive_a_reboot(harness, launcher):
    """What trained is lost; what waited starts, once, in its order."""
    first, second, third = (harness.submitted(experiment_id=name) for name in "abc")
    harness.start(first)
    reaches(launcher, first, Phase.RUNNING)

    reboot(harness)

    after = harness.launcher()
    assert phase_of(after, first) is Phase.LOST
    assert [phase_of(after, one) for one in (second, third)] == [Phase.QUEUED] * 2
    after.changes(0)
    reaches(after, second, Phase.RUNNING)
    assert phase_of(after, third) is Phase.QUEUED
    eventually(lambda: harness.starts(second) == 1)
    assert (harness.starts(first), harness.starts(third)) == (1, 0)


def test_attempt_that_had_not_begun_is_started_again(harness, launcher):
    """Its runner was killed before it started the trainer."""
    harness.submitted()
    state = harness.state / AN_ATTEMPT.handle
    (state / "runner.json").write_text('{"pid": 4194304}')
    (state / "lock").touch()

    assert phase_of(launcher, AN_ATTEMPT) is Phase.QUEUED
    harness.start(AN_ATTEMPT)

    reaches(launcher, AN_ATTEMPT, Phase.RUNNING)


def test_waiting_attempts_of_version_0_2(harness):
    """They are not in a queue; after a reboot, their runners are gone."""
    attempts = [harness.submitted(experiment_id=name) for name in "ab"]
    shutil.rmtree(harness.state / "queue")
    for seconds, attempt in enumerate(reversed(attempts)):
        job = harness.state / attempt.handle / "job.json"
        job.write_text(json.dumps(json.loads(job.read_text()) | {"slots": 1}))
        os.utime(job, (seconds, seconds))
        (job.parent / "runner.json").write_text('{"pid": 4194304}')

    launcher = harness.launcher()
    assert [phase_of(launcher, one) for one in attempts] == [Phase.QUEUED] * 2
    harness.start(attempts[1])

    reaches(launcher, attempts[1], Phase.RUNNING)
    assert phase_of(launcher, attempts[0]) is Phase.QUEUED


def test_living_runner_of_version_0_2_comes_first(harness, launcher):
    """It waits for the slot by itself, and nothing overtakes it."""
    attempt = harness.submitted()
    older = harness.state / "autoencoder-older-1"
    older.mkdir()
    (older / "job.json").write_text(json.dumps({"uid": "older"}))
    with (harness.state / "next").open("a") as queue, (older / "lock").open("a") as lock:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX)
        harness.free_slot()

        assert launcher.observe()[older.name].phase is Phase.QUEUED
        assert phase_of(launcher, attempt) is Phase.QUEUED
    harness.start(attempt)
    reaches(launcher, attempt, Phase.RUNNING)


def test_unusable_attempt_does_not_hold_up_the_queue(harness, launcher, caplog):
    bad, good = (harness.submitted(experiment_id=name) for name in "ab")
    (harness.state / bad.handle / "runner.log").mkdir()

    harness.start(good)

    reaches(launcher, good, Phase.RUNNING)
    assert phase_of(launcher, bad) is Phase.QUEUED
    assert any(bad.handle in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("obstacle", ["fifo", "link", "file"])
def test_folder_of_logs_that_is_no_folder(harness, launcher, obstacle, tmp_path):
    """An earlier attempt of the same experiment has replaced it."""
    logs = harness.folder(AN_ATTEMPT) / "logs"
    logs.parent.mkdir()
    if obstacle == "fifo":
        os.mkfifo(logs)
    elif obstacle == "link":
        (tmp_path / "elsewhere").mkdir()
        logs.symlink_to(tmp_path / "elsewhere")
    else:
        logs.touch()
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.say(AN_ATTEMPT, "hello")

    assert logs.is_dir()
    assert not logs.is_symlink()


@pytest.mark.parametrize("obstacle", ["fifo", "link", "dangling link", "folder"])
def test_log_that_is_no_file(harness, launcher, obstacle, tmp_path):
    """An earlier attempt of the same experiment left it; the runner does not wait for it."""
    log = harness.folder(AN_ATTEMPT) / "logs" / "1.log"
    log.parent.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    if obstacle == "fifo":
        os.mkfifo(log)
    elif obstacle == "folder":
        (log / "inner").mkdir(parents=True)
    else:
        log.symlink_to(elsewhere)
    if obstacle == "link":
        elsewhere.write_text("precious")
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 1, "last words")

    seen = reaches(launcher, AN_ATTEMPT, Phase.FAILED)
    assert "last words" in seen.diagnosis.message
    assert not elsewhere.exists() or elsewhere.read_text() == "precious"


@pytest.mark.parametrize("obstacle", ["fifo", "link", "folder", "device"])
def test_log_replaced_by_its_trainer(harness, launcher, obstacle, tmp_path):
    """The end is observed, without the last line."""
    harness.submitted()
    harness.start(AN_ATTEMPT)
    log = harness.folder(AN_ATTEMPT) / "logs" / "1.log"
    log.unlink()
    secret = tmp_path / "secret"
    secret.write_text("precious")
    if obstacle == "fifo":
        os.mkfifo(log)
    elif obstacle == "folder":
        log.mkdir()
    else:
        log.symlink_to("/dev/zero" if obstacle == "device" else secret)
    harness.end(AN_ATTEMPT, 1)

    seen = reaches(launcher, AN_ATTEMPT, Phase.FAILED)
    assert "it printed nothing" in seen.diagnosis.message
    assert "precious" not in seen.diagnosis.message


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
    harness.fill_slots()
    eventually(lambda: harness.starts(AN_ATTEMPT) == 2)


def test_cancel_queued(harness, launcher):
    harness.submitted()

    launcher.cancel(AN_ATTEMPT.handle)

    seen = reaches(launcher, AN_ATTEMPT, Phase.CANCELLED)
    assert (seen.started_at, seen.diagnosis) == (None, None)
    assert harness.starts(AN_ATTEMPT) == 0


def test_cancel_right_after_submit(harness, launcher):
    harness.free_slot()
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
    assert "memory" in seen.diagnosis.remedy


@pytest.fixture(params=["cgroup", "rlimit"])
def limited(request, environ, tmp_path, monkeypatch):
    """A harness whose attempts may use 200 MiB each."""
    if request.param == "rlimit":
        monkeypatch.setattr(memory, "CGROUPS", tmp_path / "no control groups")
    elif not memory.create_group(tmp_path, 2**30):
        pytest.skip("this process may not create a control group")
    memory.remove_group(tmp_path)
    harness = LocalHarness(environ | {"LOCAL_MEMORY": "200Mi"})
    yield harness
    harness.close()


def test_memory_limit(limited):
    """The attempt ends with the reason, and nothing else of the machine is touched."""
    attempt = limited.submitted()
    launcher = limited.launcher()
    limited.start(attempt)
    limited.order(attempt, f"allocate {2**24}")
    limited.say(attempt, "within the limit")

    limited.order(attempt, f"allocate {2**30}")

    seen = reaches(launcher, attempt, Phase.FAILED)
    assert seen.diagnosis.reason == "out_of_memory"
    assert "LOCAL_MEMORY" in seen.diagnosis.remedy
    assert 2**24 < seen.used.memory < 400 * 2**20  # with what it shares with other processes
    assert seen.memory_limit == 200 * 2**20
    assert list(memory.CGROUPS.rglob(memory.group_name(limited.state / attempt.handle))) == []


def test_memory_limit_counts_children(limited):
    """A control group bounds all processes of an attempt together, and ends with them."""
    attempt = limited.submitted()
    launcher = limited.launcher()
    limited.start(attempt)
    limited.order(attempt, "child")
    eventually(lambda: (limited.folder(attempt) / "child").exists())

    limited.order(attempt, "exit 0")

    reaches(launcher, attempt, Phase.SUCCEEDED)
    assert list(memory.CGROUPS.rglob(memory.group_name(limited.state / attempt.handle))) == []


def test_no_memory_limit(environ):
    harness = LocalHarness(environ | {"LOCAL_MEMORY": "none"})
    attempt = harness.submitted()
    harness.start(attempt)
    trainer = int((harness.folder(attempt) / "starts").read_text())

    limits = Path(f"/proc/{trainer}/limits").read_text()
    assert re.search(r"Max data size +unlimited", limits)
    assert "hello-flask" not in Path(f"/proc/{trainer}/cgroup").read_text()
    harness.close()


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


HOSTILE = ["$(EPOCH)", "\"'`\\;\n\r\t{{x}}", "", "x" * 10_000, "가" * 3000]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:8]))
def test_parameters_reach_the_trainer_as_they_are(harness, text):
    attempt = harness.submitted(model_parameters=as_json({"text": text, "flag": False}))
    harness.start(attempt)

    environment = json.loads((harness.folder(attempt) / "environment.json").read_text())
    assert environment["PARAM_TEXT"] == text
    assert environment["PARAM_FLAG"] == "false"
    assert environment["PARAM_EPOCH"] == environment["EPOCH"] == "20"


SCRIPT = """#!/bin/sh
echo "$0 $1 $PARAM_TEXT" > said
"""


@pytest.fixture
def model(environ, tmp_path):
    """A model of its own, whose trainer is a shell script."""
    folder = tmp_path / "models" / "shell"
    folder.mkdir(parents=True)
    (folder / "train.sh").write_text(SCRIPT)
    (folder / "train.sh").chmod(0o755)
    (folder / "train.py").write_text("open('said', 'w').write('python')")
    environ["MODELS_DIR"] = str(tmp_path / "models")
    return folder


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("./train.sh", "$PARAM_TEXT"), "{folder}/train.sh $PARAM_TEXT $(ls)"),
        (("sh", "./train.sh", "-x"), "{folder}/train.sh -x $(ls)"),
        (("python", "-u", "./train.py"), "python"),
        ((), "python"),
    ],
)
def test_command_of_the_model(environ, model, command, said):
    launcher = LocalLauncher(Settings.from_environment(environ))
    text = as_json({"text": "$(ls)"})
    attempt = replace(
        AN_ATTEMPT, model="shell", model_parameters=text, program=Program("", command)
    )
    launcher.submit(launcher.render(attempt))
    image = reaches(launcher, attempt, Phase.SUCCEEDED).image

    folder = Settings.from_environment(environ).output_dir / attempt.experiment_id
    assert (folder / "said").read_text().strip() == said.format(folder=model)
    words = shlex.join(command or ("python", "-u", "./train.py"))
    assert image.startswith(f"{words} sha256:")
    before = launcher.render(attempt)["image"]
    (model / "train.py").write_text("changed")
    assert launcher.render(attempt)["image"] != before == image


@pytest.mark.parametrize("command", [("./none.sh",), ("no-such-program",), ("python", "./none.py")])
def test_missing_program_is_refused(environ, model, command):
    launcher = LocalLauncher(Settings.from_environment(environ))
    attempt = replace(AN_ATTEMPT, model="shell", program=Program("", command))

    with pytest.raises(LauncherRefused) as error:
        launcher.submit(launcher.render(attempt))

    assert error.value.diagnosis.reason == "trainer_missing"
    assert "no" in error.value.diagnosis.message


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


def test_trainer_gets_the_limit_of_open_files_of_before(environ, model):
    """The web role raises its own; programs that use select(2) fail with descriptors above 1023."""
    (model / "train.sh").write_text("#!/bin/sh\nulimit -n > said\n")
    launcher = LocalLauncher(Settings.from_environment(environ))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowered = min(slots.FILES, 512)
    attempt = replace(AN_ATTEMPT, model="shell", program=Program("", ("./train.sh",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "FILES", lowered)
        roles.raise_file_limit()
        try:
            launcher.submit(launcher.render(attempt))
            reaches(launcher, attempt, Phase.SUCCEEDED)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    folder = Settings.from_environment(environ).output_dir / attempt.experiment_id
    assert (folder / "said").read_text().split() == [str(lowered)]


def test_control_group_ends_with_its_daemons(environ, model, tmp_path):
    """A process that has left the trainer's process group is killed at its end, too."""
    if not memory.create_group(tmp_path, 2**30):
        pytest.skip("this process may not create a control group")
    memory.remove_group(tmp_path)
    (model / "train.sh").write_text(
        "#!/bin/sh\nsetsid sh -c 'echo $$ > pid; exec sleep 1000' &\n"
        "while [ ! -s pid ]; do :; done\n"
    )
    launcher = LocalLauncher(Settings.from_environment(environ))
    attempt = replace(AN_ATTEMPT, model="shell", program=Program("", ("./train.sh",)))
    launcher.submit(launcher.render(attempt))
    reaches(launcher, attempt, Phase.SUCCEEDED)

    folder = Settings.from_environment(environ).output_dir / attempt.experiment_id
    daemon = int((folder / "pid").read_text())
    eventually(lambda: not Path(f"/proc/{daemon}").exists())


def test_waiting_attempts_are_in_order(harness, launcher):
    """An attempt that was cancelled while it waited is in the queue of files, but not in ours."""
    attempts = [harness.submitted(experiment_id=f"run-{n}", uid=f"uid-{n}") for n in range(4)]
    assert launcher.waiting(attempts[3].handle) == [attempt.handle for attempt in attempts]

    launcher.cancel(attempts[1].handle)
    harness.start(attempts[0])

    assert launcher.waiting(attempts[3].handle) == [attempt.handle for attempt in attempts[2:]]
    assert launcher.waiting(attempts[1].handle) == []


def test_priority_decides_the_order(harness, launcher):
    """Trials of sweeps come last; among equals, the first that was submitted is the first."""
    submitted = [
        ("s1-0001", {"sweep_id": "s1", "priority": None}),
        ("low", {"priority": "low"}),
        ("first", {}),
        ("second", {}),
        ("high", {"priority": "high"}),
        ("s1-0002", {"sweep_id": "s1", "priority": None}),
        ("higher", {"priority": "high"}),
    ]
    attempts = {
        name: harness.submitted(experiment_id=name, uid=f"uid-{name}", **changes)
        for name, changes in submitted
    }
    order = ["high", "higher", "first", "second", "low", "s1-0001", "s1-0002"]
    assert launcher.waiting(attempts["low"].handle) == [attempts[name].handle for name in order]

    shutil.rmtree(harness.state / "queue")  # as a version without a queue leaves it
    launcher.changes(0)
    assert launcher.waiting(attempts["low"].handle) == [attempts[name].handle for name in order]

    harness.start(attempts["high"])
    reaches(launcher, attempts["high"], Phase.RUNNING)
    late = harness.submitted(experiment_id="late", uid="uid-late", priority="high")
    assert launcher.waiting(late.handle) == [attempts["higher"].handle, late.handle] + [
        attempts[name].handle for name in order[2:]
    ]


def test_queue_of_an_older_version_goes_first(harness, launcher):
    """It counted from 1, whatever the priority."""
    old = harness.submitted(experiment_id="old", uid="uid-old")
    (entry,) = (harness.state / "queue").iterdir()
    entry.rename(entry.with_name(f"{7:016d}-{old.handle}"))
    new = harness.submitted(experiment_id="new", uid="uid-new")

    assert launcher.waiting(new.handle) == [old.handle, new.handle]


def test_exit_has_memory_and_processor_time(environ, model):
    """The trainer holds 64 MiB and computes for a while."""
    (model / "train.py").write_text(
        "import time\nheld = b'x' * 2**26\nwhile time.process_time() < 0.3:\n    pass\n"
    )
    launcher = LocalLauncher(Settings.from_environment(environ))
    attempt = replace(AN_ATTEMPT, model="shell")
    launcher.submit(launcher.render(attempt))
    reaches(launcher, attempt, Phase.SUCCEEDED)

    output = Settings.from_environment(environ).output_dir
    ended = json.loads((output / ".local" / attempt.handle / "exit.json").read_text())
    assert 2**26 < ended["peak_bytes"] < 2**28
    assert ended["cpu_seconds"] >= 0.3
