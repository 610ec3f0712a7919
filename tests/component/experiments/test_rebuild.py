"""The database is lost; folders and Jobs still exist."""

import json

import pytest
from sqlalchemy.exc import DataError

from backend.domain.exceptions import StoreUnavailable
from backend.domain.status import Status
from backend.experiments.rebuild import differences, rebuild
from backend.launchers.base import LauncherUnavailable, Observation, Phase
from tests.component.support import PARAMETERS


def all_shown(client):
    """Return every experiment as the API shows it."""
    ids = [experiment_id["experiment_id"] for experiment_id in client.get("/experiments").json]
    return [client.get(f"/experiments/{experiment_id}").json for experiment_id in ids]


def run_json(settings, experiment_id):
    return json.loads((settings.output_dir / experiment_id / "run.json").read_text())


def test_restores_every_status(
    archive, experiments, launcher, client, make_experiment, delete_rows
):
    make_experiment("queued")
    make_experiment("running", Phase.RUNNING)
    make_experiment("succeeded", Phase.RUNNING, Phase.SUCCEEDED)
    make_experiment("failed", Phase.FAILED)
    experiments.retry("failed")
    make_experiment("cancelled", Phase.RUNNING, Phase.CANCELLED)
    launcher.down = True
    experiments.submit("submitting", PARAMETERS)
    launcher.down = False
    before = all_shown(client)
    delete_rows()

    assert str(rebuild(archive, launcher)).startswith("6 experiment(s) restored, 0 adopted")
    after = all_shown(client)

    # The diagnosis of a waiting experiment is not in run.json: the next pass finds it again.
    before[0]["diagnosis"] = None
    before[0]["updated_at"] = before[0]["created_at"]
    assert after == before


def test_rebuild_is_idempotent(archive, launcher, client, make_experiment, delete_rows):
    make_experiment("first", Phase.FAILED)
    make_experiment("second")
    delete_rows("first")
    rebuild(archive, launcher)
    before = all_shown(client)
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.known) == (0, 2)
    assert all_shown(client) == before


@pytest.mark.parametrize("history", [[], "", {}, [{}], [None]])
def test_bad_history_skips_one_folder(
    archive, launcher, client, settings, make_experiment, delete_rows, caplog, history
):
    for name in ("bad", "first", "second"):
        make_experiment(name, Phase.SUCCEEDED)
    path = settings.output_dir / "bad" / "run.json"
    path.write_text(json.dumps(run_json(settings, "bad") | {"history": history}))
    launcher.jobs.clear()
    delete_rows()
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.skipped) == (2, 1)
    assert {shown["experiment_id"] for shown in all_shown(client)} == {"first", "second"}
    assert any("'bad' is skipped" in record.getMessage() for record in caplog.records)


def test_refused_row_skips_one_folder(
    archive, services, launcher, client, make_experiment, delete_rows, caplog, monkeypatch
):
    """A record passes every check, but the database does not take it."""
    restore = services.store.restore

    def refuse(rows, is_wanted):
        if any(values["experiment_id"] == "bad" for values, _ in rows):
            raise DataError(None, None, Exception("Data too long"))
        return restore(rows, is_wanted)

    for name in ("bad", "first", "second"):
        make_experiment(name, Phase.SUCCEEDED)
    launcher.jobs.clear()
    delete_rows()
    monkeypatch.setattr(services.store, "restore", refuse)
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.skipped, summary.known) == (2, 1, 0)
    assert {shown["experiment_id"] for shown in all_shown(client)} == {"first", "second"}
    assert any("'bad' is skipped" in record.getMessage() for record in caplog.records)


def test_vanished_job_not_restarted(
    reconciler, archive, experiments, launcher, settings, make_experiment, delete_rows
):
    make_experiment("first", Phase.RUNNING)
    make_experiment("second", Phase.RUNNING)
    (settings.output_dir / "second" / "summary.json").write_text("{}")
    launcher.jobs.clear()
    delete_rows()
    rebuild(archive, launcher)
    reconciler.reconcile()

    assert experiments.get("first").reason == "job_deleted"
    assert experiments.get("second").status is Status.SUCCEEDED
    assert launcher.submissions == 2


def test_pending_submission_sent_once(
    reconciler, archive, experiments, launcher, settings, delete_rows
):
    (settings.input_dir / "a.csv").write_text("x,y\n1,2\n3,4\n")
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    assert (settings.output_dir / "first" / "inputs.json").exists()  # no trace of a trainer
    launcher.down = False
    delete_rows()
    rebuild(archive, launcher)
    assert experiments.get("first").status is Status.SUBMITTING
    reconciler.reconcile()
    reconciler.reconcile()

    assert experiments.get("first").status is Status.QUEUED
    assert launcher.submissions == 1


@pytest.mark.parametrize("trace", ["metrics.jsonl", "logs/1.log", "summary.json"])
def test_output_proves_the_start(
    reconciler, archive, experiments, launcher, settings, delete_rows, trace
):
    """The process was killed after creating the Job and before it updated run.json."""
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    file = settings.output_dir / "first" / trace
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    delete_rows()
    rebuild(archive, launcher)
    reconciler.reconcile()

    assert launcher.submissions == 0
    assert experiments.get("first").status in (Status.FAILED, Status.SUCCEEDED)


def test_existing_job_means_queued(archive, experiments, launcher, delete_rows):
    launcher.down = True
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.down = False
    launcher.submit(launcher.render(experiment.current_attempt))
    delete_rows()
    rebuild(archive, launcher)

    assert experiments.get("first").status is Status.QUEUED


def test_cancel_request_survives(
    reconciler, archive, experiments, launcher, make_experiment, delete_rows
):
    make_experiment("first", Phase.RUNNING)
    experiments.cancel("first")
    delete_rows()
    rebuild(archive, launcher)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED


def test_deleted_stays_deleted(
    reconciler, archive, experiments, launcher, client, make_experiment, delete_rows
):
    experiment = make_experiment("first", Phase.FAILED)
    experiments.delete("first", outputs=False)
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.deleted) == (0, 1)
    launcher.jobs[experiment.job] = Observation(
        experiment.uid, Phase.RUNNING, attempt=experiment.current_attempt
    )  # a stray one
    for _ in range(3):
        reconciler.reconcile()
    assert client.get("/experiments").json == []
    assert list(differences(archive, launcher)) == [
        f"the Job {experiment.job}: the database has no experiment for it"
    ]


def test_delete_during_restore_wins(
    archive, experiments, launcher, client, store, make_experiment, monkeypatch
):
    make_experiment("first", Phase.FAILED)
    make_experiment("second", Phase.FAILED)
    restore = store.restore

    def restore_late(attempts, is_wanted):
        experiments.delete("first", outputs=False)
        experiments.delete("second", outputs=True)
        return restore(attempts, is_wanted)

    monkeypatch.setattr(store, "restore", restore_late)
    rebuild(archive, launcher)

    assert client.get("/experiments").json == []


def test_retry_after_failed_delete(
    archive, experiments, launcher, store, make_experiment, delete_rows, monkeypatch
):
    """A delete left its tombstone and the row; a retry removes the tombstone again."""

    def away(*_arguments, **_options):
        raise StoreUnavailable("gone")

    make_experiment("first", Phase.FAILED)
    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", away)
        with pytest.raises(StoreUnavailable):
            experiments.delete("first", outputs=False)
    assert list(differences(archive, launcher)) == [
        "'first': it was deleted, but is in the database"
    ]
    experiments.retry("first")
    delete_rows()
    rebuild(archive, launcher)

    assert experiments.get("first").attempt == 2


def test_submission_during_restore_wins(
    archive, experiments, launcher, store, make_experiment, delete_rows, monkeypatch
):
    first = make_experiment("first", Phase.FAILED)
    make_experiment("second", Phase.FAILED)
    delete_rows()
    restore = store.restore

    def restore_late(attempts, is_wanted):
        store.insert({**attempts[0][0], "uid": "0" * 32, "epoch": 99, "status": "submitting"})
        return restore(attempts, is_wanted)

    monkeypatch.setattr(store, "restore", restore_late)
    rebuild(archive, launcher)

    assert experiments.get("first").epoch == 99
    assert experiments.get("first").uid != first.uid
    assert experiments.get("second").status is Status.FAILED


def test_restored_list_keeps_order(
    archive, launcher, client, make_experiment, delete_rows, settings, monkeypatch
):
    monkeypatch.setattr("backend.experiments.rebuild.TRANSACTION_SIZE", 2)
    for name in ("m", "z", "a", "q", "b"):
        make_experiment(name, Phase.FAILED)
    delete_rows()
    rebuild(archive, launcher)

    assert [experiment["experiment_id"] for experiment in client.get("/experiments").json] == list(
        "bqazm"
    )


def test_unusable_folders_are_skipped(
    archive, launcher, settings, make_experiment, delete_rows, caplog, tmp_path
):
    make_experiment("good", Phase.FAILED)
    make_experiment("moved", Phase.FAILED)
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
    delete_rows()
    summary = rebuild(archive, launcher)

    assert (summary.restored, summary.skipped) == (1, 9)
    for name in ("elsewhere", "foreign", "link", "broken", "deep", "long", "list", "linked"):
        assert f"The folder {name!r} is skipped" in caplog.text
    assert list(differences(archive, launcher)) == []


def test_restores_run_json_of_0_1_0(
    archive, experiments, launcher, settings, make_experiment, delete_rows
):
    make_experiment("first", Phase.RUNNING, Phase.SUCCEEDED)
    record = run_json(settings, "first")
    del record["history"]
    (settings.output_dir / "first" / "run.json").write_text(json.dumps(record))
    delete_rows()
    rebuild(archive, launcher)

    experiment = experiments.get("first")
    assert experiment.status is Status.SUCCEEDED
    assert [step.to_status for step in experiments.history(experiment)][-1] == "succeeded"


def test_needs_the_launcher(archive, launcher, client, make_experiment, delete_rows):
    make_experiment("first")
    delete_rows()
    launcher.down = True

    with pytest.raises(LauncherUnavailable):
        rebuild(archive, launcher)
    assert client.get("/experiments").json == []


def test_check_reports_and_changes_nothing(
    archive, experiments, launcher, settings, client, make_experiment, delete_rows
):
    make_experiment("same", Phase.FAILED)
    make_experiment("lost", Phase.RUNNING)
    make_experiment("other", Phase.FAILED)
    make_experiment("bare", Phase.FAILED)
    make_experiment("damaged", Phase.FAILED)
    make_experiment("taken", Phase.FAILED)
    output = settings.output_dir
    for name, changes in {
        "other": {"status": "succeeded", "epoch": 21},
        "taken": {"uid": "0" * 32},
    }.items():
        (output / name / "run.json").write_text(json.dumps(run_json(settings, name) | changes))
    (output / "bare").rename(output.parent / "bare")
    (output / "damaged" / "run.json").write_text("{")
    job = experiments.get("lost").job
    delete_rows("lost")
    before = all_shown(client)

    assert sorted(differences(archive, launcher)) == [
        "'bare': it has no folder",
        "'damaged': it has no readable run.json",
        "'lost': it is missing in the database; its run.json says running",
        "'other': status is failed in the database, succeeded in run.json; "
        "epoch is 20 in the database, 21 in run.json",
        "'taken': its folder belongs to another experiment than the one in the database",
        f"the Job {job}: the database has no experiment for it",
    ]
    assert all_shown(client) == before


def test_stale_run_json_is_updated(archive, launcher, settings, make_experiment, store):
    make_experiment("first", Phase.RUNNING)
    behind = (settings.output_dir / "first" / "run.json").read_text()
    make_experiment("first", Phase.FAILED)
    (settings.output_dir / "first" / "run.json").write_text(behind)
    rebuild(archive, launcher)

    assert run_json(settings, "first")["status"] == "failed"
    assert list(differences(archive, launcher)) == []
