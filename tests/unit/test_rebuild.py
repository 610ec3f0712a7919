"""The database is lost; the folders and the Jobs are there."""

import json

import pytest

from backend.domain.exceptions import StoreUnavailable
from backend.domain.status import Status
from backend.experiments.rebuild import differences, rebuild
from backend.launchers.base import LauncherUnavailable, Observation, Phase
from tests.unit.test_experiments import PARAMETERS


def everything(client):
    """Give all that a user can see."""
    ids = [one["experiment_id"] for one in client.get("/experiments").json]
    return [client.get(f"/experiments/{one}").json for one in ids]


def run_json(settings, experiment_id):
    return json.loads((settings.output_dir / experiment_id / "run.json").read_text())


def test_it_works(archive, experiments, launcher, client, made, lose):
    made("queued")
    made("running", Phase.RUNNING)
    made("succeeded", Phase.RUNNING, Phase.SUCCEEDED)
    made("failed", Phase.FAILED)
    experiments.retry("failed")
    made("cancelled", Phase.RUNNING, Phase.CANCELLED)
    launcher.down = True
    experiments.submit("submitting", PARAMETERS)
    launcher.down = False
    before = everything(client)
    lose()

    assert str(rebuild(archive, launcher)).startswith("6 experiment(s) restored, 0 adopted")
    after = everything(client)

    # Why a run waits is not written down: the next pass finds out.
    before[0]["diagnosis"] = None
    before[0]["updated_at"] = before[0]["created_at"]
    assert after == before


def test_a_second_time_changes_nothing(archive, launcher, client, made, lose):
    made("first", Phase.FAILED)
    made("second")
    lose("first")
    rebuild(archive, launcher)
    before = everything(client)
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.known) == (0, 2)
    assert everything(client) == before


def test_a_run_whose_job_is_gone_is_not_started_again(
    reconciler, archive, experiments, launcher, settings, made, lose
):
    made("first", Phase.RUNNING)
    made("second", Phase.RUNNING)
    (settings.output_dir / "second" / "summary.json").write_text("{}")
    launcher.jobs.clear()
    lose()
    rebuild(archive, launcher)
    reconciler.reconcile()

    assert experiments.get("first").reason == "job_deleted"
    assert experiments.get("second").status is Status.SUCCEEDED
    assert launcher.submissions == 2


def test_what_was_not_submitted_yet_is_submitted_once(
    reconciler, archive, experiments, launcher, lose
):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    lose()
    rebuild(archive, launcher)
    assert experiments.get("first").status is Status.SUBMITTING
    reconciler.reconcile()
    reconciler.reconcile()

    assert experiments.get("first").status is Status.QUEUED
    assert launcher.submissions == 1


@pytest.mark.parametrize("trace", ["metrics.jsonl", "logs/1.log", "summary.json"])
def test_a_run_that_left_a_trace_was_started(
    reconciler, archive, experiments, launcher, settings, lose, trace
):
    """Its Job was made, and run.json not written again: the process was killed in between."""
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    file = settings.output_dir / "first" / trace
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    lose()
    rebuild(archive, launcher)
    reconciler.reconcile()

    assert launcher.submissions == 0
    assert experiments.get("first").status in (Status.FAILED, Status.SUCCEEDED)


def test_a_run_whose_job_was_made_just_before_the_loss_is_queued(
    archive, experiments, launcher, lose
):
    launcher.down = True
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.down = False
    launcher.submit(launcher.render(experiment.current_attempt))
    lose()
    rebuild(archive, launcher)

    assert experiments.get("first").status is Status.QUEUED


def test_a_wish_to_cancel_is_not_lost(reconciler, archive, experiments, launcher, made, lose):
    made("first", Phase.RUNNING)
    experiments.cancel("first")
    lose()
    rebuild(archive, launcher)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED


def test_what_was_forgotten_does_not_come_back(
    reconciler, archive, experiments, launcher, client, made, lose
):
    one = made("first", Phase.FAILED)
    experiments.delete("first", outputs=False)
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.deleted) == (0, 1)
    launcher.jobs[one.job] = Observation(
        one.uid, Phase.RUNNING, attempt=one.current_attempt
    )  # a stray one
    for _ in range(3):
        reconciler.reconcile()
    assert client.get("/experiments").json == []
    assert list(differences(archive, launcher)) == [
        f"the Job {one.job}: the database has no experiment for it"
    ]


def test_a_run_that_is_forgotten_while_it_is_restored_stays_forgotten(
    archive, experiments, launcher, client, store, made, monkeypatch
):
    made("first", Phase.FAILED)
    made("second", Phase.FAILED)
    restore = store.restore

    def restore_late(attempts, is_wanted):
        experiments.delete("first", outputs=False)
        experiments.delete("second", outputs=True)
        return restore(attempts, is_wanted)

    monkeypatch.setattr(store, "restore", restore_late)
    rebuild(archive, launcher)

    assert client.get("/experiments").json == []


def test_a_run_that_was_to_be_forgotten_and_is_retried_is_remembered(
    archive, experiments, launcher, store, made, lose, monkeypatch
):
    def away(*_arguments, **_options):
        raise StoreUnavailable("gone")

    made("first", Phase.FAILED)
    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", away)
        with pytest.raises(StoreUnavailable):
            experiments.delete("first", outputs=False)
    assert list(differences(archive, launcher)) == [
        "'first': it was deleted, but is in the database"
    ]
    experiments.retry("first")
    lose()
    rebuild(archive, launcher)

    assert experiments.get("first").attempt == 2


def test_a_submission_at_the_same_moment_wins(
    archive, experiments, launcher, store, made, lose, monkeypatch
):
    first = made("first", Phase.FAILED)
    made("second", Phase.FAILED)
    lose()
    restore = store.restore

    def restore_late(attempts, is_wanted):
        store.insert({**attempts[0][0], "uid": "0" * 32, "epoch": 99, "status": "submitting"})
        return restore(attempts, is_wanted)

    monkeypatch.setattr(store, "restore", restore_late)
    rebuild(archive, launcher)

    assert experiments.get("first").epoch == 99
    assert experiments.get("first").uid != first.uid
    assert experiments.get("second").status is Status.FAILED


def test_the_list_keeps_its_order(archive, launcher, client, made, lose, settings, monkeypatch):
    monkeypatch.setattr("backend.experiments.rebuild.TRANSACTION_SIZE", 2)
    for name in ("m", "z", "a", "q", "b"):
        made(name, Phase.FAILED)
    lose()
    rebuild(archive, launcher)

    assert [one["experiment_id"] for one in client.get("/experiments").json] == list("bqazm")


def test_what_is_no_run_is_named_and_passed_over(
    archive, launcher, settings, made, lose, caplog, tmp_path
):
    made("good", Phase.FAILED)
    made("moved", Phase.FAILED)
    output = settings.output_dir
    (output / "moved").rename(output / "elsewhere")
    (output / "foreign").mkdir()
    (output / "a file").touch()
    (output / ".local").mkdir()
    (output / "link").symlink_to(output / "good")
    for name, text in {
        "broken": '{"uid": ',
        "deep": "[" * 100_000,
        "long": " " * 2**21 + "{}",
        "list": "[]",
        "linked": None,
    }.items():
        (output / name).mkdir()
        if text is None:
            (output / name / "run.json").symlink_to(output / "good" / "run.json")
        else:
            (output / name / "run.json").write_text(text)
    (output / b"\xff\xfe".decode(errors="surrogateescape")).mkdir()
    lose()
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.skipped) == (1, 9)
    for name in ("elsewhere", "foreign", "link", "broken", "deep", "long", "list", "linked"):
        assert f"The folder {name!r} is skipped" in caplog.text
    assert list(differences(archive, launcher)) == []


def test_a_record_of_version_0_1_0_is_understood(
    archive, experiments, launcher, settings, made, lose
):
    made("first", Phase.RUNNING, Phase.SUCCEEDED)
    record = run_json(settings, "first")
    del record["history"]
    (settings.output_dir / "first" / "run.json").write_text(json.dumps(record))
    lose()
    rebuild(archive, launcher)

    one = experiments.get("first")
    assert one.status is Status.SUCCEEDED
    assert [step.to_status for step in experiments.history(one)][-1] == "succeeded"


def test_without_the_jobs_nothing_is_guessed(archive, launcher, client, made, lose):
    made("first")
    lose()
    launcher.down = True

    with pytest.raises(LauncherUnavailable):
        rebuild(archive, launcher)
    assert client.get("/experiments").json == []


def test_differences_are_named_and_nothing_is_changed(
    archive, experiments, launcher, settings, client, made, lose
):
    made("same", Phase.FAILED)
    made("lost", Phase.RUNNING)
    made("other", Phase.FAILED)
    made("bare", Phase.FAILED)
    made("damaged", Phase.FAILED)
    made("taken", Phase.FAILED)
    output = settings.output_dir
    for name, changes in {
        "other": {"status": "succeeded", "epoch": 21},
        "taken": {"uid": "0" * 32},
    }.items():
        (output / name / "run.json").write_text(json.dumps(run_json(settings, name) | changes))
    (output / "bare").rename(output.parent / "bare")
    (output / "damaged" / "run.json").write_text("{")
    job = experiments.get("lost").job
    lose("lost")
    before = everything(client)

    assert sorted(differences(archive, launcher)) == [
        "'bare': it has no folder",
        "'damaged': it has no readable run.json",
        "'lost': it is missing in the database; its run.json says running",
        "'other': status is failed in the database, succeeded in run.json; "
        "epoch is 20 in the database, 21 in run.json",
        "'taken': its folder belongs to another experiment than the one in the database",
        f"the Job {job}: the database has no experiment for it",
    ]
    assert everything(client) == before


def test_a_run_json_that_fell_behind_is_brought_in_line(archive, launcher, settings, made, store):
    made("first", Phase.RUNNING)
    behind = (settings.output_dir / "first" / "run.json").read_text()
    made("first", Phase.FAILED)
    (settings.output_dir / "first" / "run.json").write_text(behind)
    rebuild(archive, launcher)

    assert run_json(settings, "first")["status"] == "failed"
    assert list(differences(archive, launcher)) == []
