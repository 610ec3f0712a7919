"""Fixtures of the tests of sweeps: a driver, and a house that trains on command."""

import json

import pytest

from backend.domain.catalogue import Goal
from backend.domain.status import LIVE
from backend.launchers.base import Observation, Phase
from backend.sweeps.driver import Driver
from backend.sweeps.plan import Plan
from backend.sweeps.samplers import Method
from backend.sweeps.spaces import read_space
from backend.sweeps.stopping import Rule


@pytest.fixture
def sweeps(app):
    return app.extensions["sweeps"]


@pytest.fixture
def driver(sweeps, services):
    return Driver(sweeps, services)


@pytest.fixture
def entry(services):
    return services.models.find("autoencoder")[0]


@pytest.fixture
def make_plan(entry):
    """Return a function that makes the plan of a sweep; what varies is the learning rate."""

    def make(sent=None, **options):
        sent = {"learning_rate": "0.001..0.1", "epoch": "9"} | (sent or {})
        space, fixed = read_space(entry, sent)
        options = {
            "method": Method.RANDOM,
            "stop": Rule.NONE,
            "metric": "val_loss",
            "goal": Goal.MINIMIZE,
            "min_epoch": 1,
            "eta": 3,
            "max_failed": 3,
            "seed": 1,
            "trials": 4,
            "parallel": 2,
        } | options
        return Plan(
            "autoencoder",
            space=dict(sorted(space.items())),
            fixed=fixed,
            sent=frozenset(sent),
            entry_sha256=entry.sha256,
            **options,
        )

    return make


class House:
    """Starts a sweep, and trains and ends its trials.

    Attributes:
        driver: carries the sweep on.
    """

    def __init__(self, sweeps, services, launcher, driver, entry):
        self._sweeps, self._services, self._launcher = sweeps, services, launcher
        self._entry, self.driver = entry, driver
        services.summaries.step()  # begins with the transitions from now on

    def start(self, plan, sweep_id="s"):
        return self._sweeps.start(sweep_id, plan, self._entry)

    def sweep(self, sweep_id="s"):
        return self._sweeps.get(sweep_id)

    def trials(self, sweep_id="s"):
        return self._sweeps.trials(self.sweep(sweep_id))

    def live(self, sweep_id="s"):
        return [trial.experiment_id for trial in self.trials(sweep_id) if trial.is_live]

    def train(self, experiment_id, *losses):
        """Write a curve."""
        rows = [{"epoch": number + 1, "val_loss": loss} for number, loss in enumerate(losses)]
        folder = self._services.outputs.folder(experiment_id)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.observe(experiment_id, Phase.RUNNING)

    def observe(self, experiment_id, phase, diagnosis=None):
        experiment = self._services.experiments.get(experiment_id)
        seen = Observation(
            experiment.uid, phase, attempt=experiment.current_attempt, diagnosis=diagnosis
        )
        self._launcher.jobs[experiment.job] = seen
        self._services.recorder.record(experiment, seen)

    def end(self, experiment_id, *losses, phase=Phase.SUCCEEDED, diagnosis=None):
        if losses:
            self.train(experiment_id, *losses)
        self.observe(experiment_id, phase, diagnosis)

    def summaries(self):
        """Store the figures of the curves, as a thread of the reconciler does."""
        self._services.summaries.step(all_running=True)

    def run(self, objective, sweep_id="s", limit=200):
        """Carry the sweep on to its end; `objective` returns the loss of a trial's parameters."""
        for _ in range(limit):
            self.driver.step()
            if self.sweep(sweep_id).is_ended:
                return
            for experiment in self._services.store.in_status(LIVE):
                loss = objective(experiment.parameters.values)
                self.end(experiment.experiment_id, loss + 1, loss)
        raise AssertionError("the sweep does not end")


@pytest.fixture
def house(sweeps, services, launcher, driver, entry):
    return House(sweeps, services, launcher, driver, entry)
