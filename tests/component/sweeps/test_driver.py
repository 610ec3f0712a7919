"""The driver: which trials there are, which are stopped, and how a sweep ends."""

import pytest

from backend.domain.attempt import Diagnosis
from backend.domain.exceptions import OutputMissing
from backend.domain.status import Status
from backend.domain.sweeps.sweep import SweepStatus
from backend.experiments.submission import Outcome
from backend.launchers.base import Phase
from backend.sweeps.driver import Driver
from backend.sweeps.samplers import Method
from backend.sweeps.stopping import Rule

UNUSABLE = Diagnosis("input_unusable", "The data set has no samples.", "Send another one.")


def rate(parameters):
    return parameters["learning_rate"]


def test_it_works(house, make_plan):
    outcome, _ = house.start(make_plan())
    assert outcome is Outcome.CREATED
    house.run(rate)

    sweep, trials = house.sweep(), house.trials()
    assert sweep.status is SweepStatus.SUCCEEDED
    assert sweep.finished_at
    assert [trial.experiment_id for trial in trials] == ["s-0001", "s-0002", "s-0003", "s-0004"]
    assert {trial.status for trial in trials} == {Status.SUCCEEDED}
    assert len({trial.parameters["learning_rate"] for trial in trials}) == 4


def test_no_more_than_parallel_are_live(house, make_plan):
    house.start(make_plan(parallel=2))
    for _ in range(3):
        house.driver.step()
        assert house.live() == ["s-0001", "s-0002"]
    house.end("s-0001", 0.5)
    house.driver.step()

    assert house.live() == ["s-0002", "s-0003"]


def test_two_drivers_submit_each_number_once(house, make_plan, sweeps, services, launcher):
    house.start(make_plan(trials=6, parallel=3))
    other = Driver(sweeps, services)
    for _ in range(4):
        house.driver.step()
        other.step()
        for experiment_id in house.live():
            house.end(experiment_id, 0.5)
    house.driver.step()

    assert [trial.number for trial in house.trials()] == [1, 2, 3, 4, 5, 6]
    assert launcher.submissions == 6
    assert house.sweep().status is SweepStatus.SUCCEEDED


def test_a_number_that_was_issued_meanwhile_is_not_used_again(
    house, make_plan, sweeps, services, entry
):
    house.start(make_plan())
    stale = house.sweep()
    house.driver.step()
    parameters = services.experiments.get("s-0001").parameters

    assert services.experiments.submit_trial(stale, parameters, entry) is None
    assert house.sweep().issued == 2


def test_nothing_is_submitted_after_a_cancel_that_the_driver_has_not_seen(
    house, make_plan, sweeps, services, entry
):
    house.start(make_plan(parallel=1))
    house.driver.step()
    stale, parameters = house.sweep(), services.experiments.get("s-0001").parameters
    sweeps.cancel("s")

    assert services.experiments.submit_trial(stale, parameters, entry) is None
    assert [trial.number for trial in house.trials()] == [1]


def test_all_trials_use_the_files_of_the_first(house, make_plan, services, settings):
    """Otherwise they could not be compared; also once the first was deleted."""
    (settings.input_dir / "a.csv").write_text("1,2\n3,4\n")
    house.start(make_plan(parallel=1))
    house.driver.step()
    files = services.experiments.get("s-0001").inputs
    assert "a.csv" in files
    (settings.input_dir / "a.csv").write_text("5,6\n7,8\n")
    (settings.input_dir / "b.csv").write_text("1,2\n3,4\n")

    house.end("s-0001", 0.5)
    house.driver.step()
    assert services.experiments.get("s-0002").inputs == files
    services.experiments.delete("s-0001", outputs=True)
    house.end("s-0002", 0.5)
    house.driver.step()
    assert services.experiments.get("s-0003").inputs == files


def test_a_grid_is_tried_completely(house, make_plan):
    sent = {"learning_rate": ["0.1", "0.01"], "hidden": "16..32 step 8"}
    house.start(make_plan(sent, method=Method.GRID, trials=None))
    house.run(rate)

    points = {
        (trial.parameters["learning_rate"], trial.parameters["hidden"]) for trial in house.trials()
    }
    assert points == {(rate, hidden) for rate in (0.1, 0.01) for hidden in (16, 24, 32)}
    assert house.sweep().trials == 6


def test_tpe_gets_better(house, make_plan):
    house.start(make_plan(method=Method.TPE, trials=30, parallel=1))
    house.run(lambda parameters: abs(parameters["learning_rate"] - 0.02))

    errors = [abs(trial.parameters["learning_rate"] - 0.02) for trial in house.trials()]
    assert sum(errors[15:]) < sum(errors[:15])
    assert '"learning_rate": 1' in house.sweep().analysis


def test_hopeless_trials_are_pruned(house, make_plan, services):
    house.start(make_plan(stop=Rule.ASHA, min_epoch=3, parallel=4))
    house.driver.step()
    for number, loss in enumerate((0.4, 0.1, 0.2, 0.3), 1):
        house.train(f"s-000{number}", 1.0, loss, loss)
    house.driver.step()
    stopped = services.experiments.get("s-0001")
    assert stopped.cancel_requested_at
    assert not services.experiments.get("s-0002").cancel_requested_at
    for experiment_id in ("s-0001", "s-0004"):
        house.end(experiment_id, phase=Phase.CANCELLED)

    stopped = services.experiments.get("s-0001")
    assert (stopped.status, stopped.reason) == (Status.CANCELLED, "pruned")
    assert stopped.message == (
        "At epoch 3, val_loss was 0.4 at best; at most 0.2 was needed to be as good as the best 2 "
        "of the 4 trials that reached it."
    )
    assert services.experiments.history(stopped)[-1].reason == "pruned"
    run_file = services.outputs.read_run_file("s-0001")
    assert (run_file["reason"], run_file["history"][-1]["reason"]) == ("pruned", "pruned")
    assert [trial.outcome for trial in house.trials()] == ["pruned", "running", "running", "pruned"]


def test_a_trial_that_finishes_before_it_is_stopped_has_succeeded(house, make_plan, services):
    house.start(make_plan(stop=Rule.ASHA, min_epoch=1, parallel=2))
    house.driver.step()
    house.train("s-0001", 0.1)
    house.train("s-0002", 0.9)
    house.driver.step()
    assert services.experiments.get("s-0002").pruned_because
    house.end("s-0002", 0.9)

    finished = services.experiments.get("s-0002")
    assert (finished.status, finished.reason) == (Status.SUCCEEDED, None)


def test_a_pruned_trial_that_a_person_retries_goes_on(house, make_plan, services):
    house.start(make_plan(stop=Rule.ASHA, min_epoch=1, parallel=2, trials=2))
    house.driver.step()
    house.train("s-0001", 0.1)
    house.train("s-0002", 0.9)
    house.driver.step()
    house.end("s-0002", phase=Phase.CANCELLED)
    services.experiments.retry("s-0002", by="alice")
    house.train("s-0002", 0.9)
    house.driver.step()

    retried = services.experiments.get("s-0002")
    assert retried.status is Status.RUNNING
    assert retried.attempt == 2
    assert not retried.cancel_requested_at
    assert not retried.pruned_because


@pytest.mark.parametrize("promote", [False, True])
def test_a_trial_that_was_stopped_too_early_goes_on_in_the_end(house, make_plan, services, promote):
    options = {"min_epoch": 1, "eta": 2, "parallel": 2, "trials": 4, "promote": promote}
    house.start(make_plan(stop=Rule.ASHA, **options))
    house.driver.step()
    house.train("s-0001", 0.5, 0.1)
    house.train("s-0002", 0.5, 0.2)
    house.driver.step()
    house.end("s-0002", phase=Phase.CANCELLED)
    house.end("s-0001", *[0.5, 0.1] + [0.1] * 7)
    house.driver.step()
    for number in (3, 4):
        house.end(f"s-000{number}", *[0.5, 0.9] + [0.9] * 7)
    assert services.experiments.get("s-0002").reason == "pruned"
    house.driver.step()
    house.driver.step()

    trial = services.experiments.get("s-0002")
    assert trial.attempt == 1 + promote
    assert house.live() == (["s-0002"] if promote else [])
    assert house.sweep().is_ended is not promote
    if promote:
        house.train("s-0002", 0.5, 0.4)
        house.driver.step()
        assert not services.experiments.get("s-0002").cancel_requested_at  # no rule stops it again
        house.end("s-0002", 0.5, 0.4)
        house.driver.step()
        assert house.sweep().status is SweepStatus.SUCCEEDED


def test_one_failed_trial_harms_none(house, make_plan):
    house.start(make_plan())
    house.driver.step()
    house.end("s-0001", phase=Phase.FAILED, diagnosis=UNUSABLE)
    house.run(rate)

    assert house.sweep().status is SweepStatus.SUCCEEDED
    assert [trial.outcome for trial in house.trials()] == ["failed", *["succeeded"] * 3]


def test_failures_in_a_row_end_a_sweep(house, make_plan, sweeps):
    house.start(make_plan(parallel=1, trials=9))
    for number in range(1, 4):
        house.driver.step()
        house.end(f"s-000{number}", phase=Phase.FAILED, diagnosis=UNUSABLE)
    house.driver.step()

    sweep = house.sweep()
    assert (sweep.status, sweep.reason) == (SweepStatus.FAILED, "input_unusable")
    assert sweep.message == ("The last 3 trials have failed. s-0003: The data set has no samples.")
    assert len(house.trials()) == 3
    sweeps.resume("s")
    house.driver.step()
    assert house.live() == ["s-0004"]


def test_a_success_between_failures_counts(house, make_plan):
    house.start(make_plan(parallel=1, trials=5))
    outcomes = [Phase.FAILED, Phase.FAILED, Phase.SUCCEEDED, Phase.FAILED, Phase.FAILED]
    for number, phase in enumerate(outcomes, 1):
        house.driver.step()
        house.end(f"s-000{number}", 0.5, phase=phase)
    house.driver.step()

    assert house.sweep().status is SweepStatus.SUCCEEDED


def test_a_sweep_without_a_success_has_failed(house, make_plan):
    house.start(make_plan(parallel=1, trials=2, max_failed=9))
    for number in (1, 2):
        house.driver.step()
        house.end(f"s-000{number}", phase=Phase.FAILED)
    house.driver.step()

    assert (house.sweep().status, house.sweep().reason) == ("failed", "no_trial_succeeded")


def test_an_ended_sweep_knows_its_best_value(house, make_plan, client):
    """The figures of the last trial are stored before the sweep ends, not some time later."""
    house.start(make_plan(parallel=2, trials=2))
    house.driver.step()
    house.end("s-0001", 0.5)
    house.end("s-0002", 0.4, 0.3)
    house.driver.step()

    sweep = client.get("/sweeps/s").json
    assert sweep["status"] == "succeeded"
    assert (sweep["best"]["experiment_id"], sweep["best"]["value"]) == ("s-0002", 0.3)
    assert client.get("/sweeps").json[0]["best"] == sweep["best"]


def test_a_sweep_does_not_end_without_its_values(house, make_plan, client, services):
    house.start(make_plan(parallel=1, trials=1))
    house.driver.step()
    house.end("s-0001", 0.5)
    output = services.outputs.folder("s").parent
    away = output.rename(output.with_name("away"))
    house.driver.step()
    with pytest.raises(OutputMissing):
        house.summaries()

    sweep = client.get("/sweeps/s").json
    assert (sweep["status"], sweep["diagnosis"]["reason"]) == ("running", "output_missing")
    away.rename(output)
    house.driver.step()
    sweep = client.get("/sweeps/s").json
    assert (sweep["status"], sweep["diagnosis"]) == ("succeeded", None)
    assert sweep["best"]["value"] == 0.5


def test_pause_and_resume(house, make_plan, sweeps):
    house.start(make_plan(parallel=1))
    house.driver.step()
    sweeps.pause("s")
    house.end("s-0001", 0.5)
    house.driver.step()
    assert house.live() == []
    sweeps.resume("s")
    house.driver.step()

    assert house.live() == ["s-0002"]


def test_cancel_ends_the_live_trials(house, make_plan, sweeps, services):
    house.start(make_plan(parallel=2))
    house.driver.step()
    sweeps.cancel("s")
    house.driver.step()

    assert [services.experiments.get(name).cancel_requested_at for name in house.live()]
    assert all(services.experiments.get(name).cancel_requested_at for name in house.live())
    assert not house.sweep().is_cancelling
    assert house.sweep().status is SweepStatus.CANCELLED


def test_extend(house, make_plan, sweeps):
    house.start(make_plan(trials=2))
    house.run(rate)
    sweeps.extend("s", trials=5, parallel=3)
    house.driver.step()

    assert house.live() == ["s-0003", "s-0004", "s-0005"]


@pytest.mark.parametrize("outputs", [False, True])
def test_delete(house, make_plan, sweeps, services, outputs):
    house.start(make_plan(trials=2))
    house.run(rate)
    sweeps.delete("s", outputs=outputs)
    house.driver.step()

    assert sweeps.page(limit=9) == []
    assert services.store.counts() == {}
    for name in ("s", "s-0001", "s-0002"):
        assert services.outputs.folder(name).exists() is not outputs


def test_a_launcher_that_is_down_delays_trials(house, make_plan, launcher, services):
    house.start(make_plan(parallel=1))
    launcher.down = True
    house.driver.step()
    assert services.experiments.get("s-0001").status is Status.SUBMITTING
    launcher.down = False
    house.driver.step()

    assert house.live() == ["s-0001"]


def test_a_refused_trial_counts_as_failed(house, make_plan, launcher):
    launcher.refusing = True
    house.start(make_plan(trials=9))
    for _ in range(9):
        house.driver.step()

    assert (house.sweep().status, house.sweep().reason) == ("failed", "job_refused")
    assert len(house.trials()) == 3


def test_an_experiment_with_the_id_of_a_trial_makes_the_sweep_wait(
    house, make_plan, experiments, services
):
    house.start(make_plan(parallel=1))
    experiments.submit("s-0001", services_parameters())
    house.driver.step()
    assert house.sweep().reason == "trial_id_taken"
    house.end("s-0001", 0.5)
    experiments.delete("s-0001", outputs=True)
    house.driver.step()

    assert house.live() == ["s-0001"]
    assert house.sweep().reason is None


def services_parameters():
    from tests.component.support import PARAMETERS

    return PARAMETERS


def test_a_deleted_trial_is_not_suggested_again(house, make_plan, experiments):
    house.start(make_plan(parallel=1, trials=3))
    house.driver.step()
    house.end("s-0001", 0.5)
    experiments.delete("s-0001", outputs=True)
    house.run(rate)

    assert [trial.number for trial in house.trials()] == [2, 3]


def test_an_unforeseen_error_in_one_sweep_holds_up_no_other(house, make_plan, sweeps):
    house.start(make_plan(), "broken")
    house.start(make_plan(), "sound")
    sweep = house.sweep("broken")
    sweeps.table.update(sweep, {"definition": "{}"})
    house.driver.step()

    assert house.live("sound") == ["sound-0001", "sound-0002"]
