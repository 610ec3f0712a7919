"""What the clients do and which faults are injected meanwhile, drawn from a seed. Pure."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

CLIENTS = 4
SETTLE_AFTER = 6  # submissions of the same client, so that experiments overlap
EXPERIMENTS_PER_FAULT = 4
BEHAVIOURS, WEIGHTS = ("ok", "once", "always", "hostile"), (6, 2, 1, 2)


@dataclass(frozen=True)
class ExperimentPlan:
    """One experiment and what its client does with it.

    Attributes:
        copies: number of clients that send the same form at the same moment.
        patient: whether an unanswered form is sent again.
        retries: the most retries, if it fails or is cancelled.
        spared: whether it is not retried once it was cancelled.
        delete: `no`, `row` (its folder stays) or `outputs`.
    """

    experiment_id: str
    epoch: int
    copies: int
    patient: bool
    retries: int
    spared: bool
    delete: str

    @property
    def is_hostile(self) -> bool:
        """Whether its trainer writes what it likes; see `hostile.py`."""
        return self.experiment_id.endswith("-hostile")

    @property
    def form(self) -> dict[str, str]:
        """The form that is sent."""
        epoch = str(self.epoch)
        return {"experiment_id": self.experiment_id, "learning_rate": "0.01", "epoch": epoch}


@dataclass(frozen=True)
class Step:
    """One action of a client: submit, repeat, other, cancel, look or settle."""

    action: str
    experiment: ExperimentPlan


@dataclass(frozen=True)
class Fault:
    """A fault that is injected once the clients have done `at` steps."""

    at: int
    kind: str


@dataclass(frozen=True)
class Plan:
    """Everything that is drawn from the seed.

    Attributes:
        clients: the steps of each client, in order.
        faults: in the order of their steps.
    """

    seed: int
    experiments: list[ExperimentPlan]
    clients: list[list[Step]]
    faults: list[Fault]


def make_plan(seed: int, number: int, faults: Mapping[str, int]) -> Plan:
    """Draw a plan with `number` experiments; of `faults`, weights by kind, each comes once."""
    draw = random.Random(seed)
    experiments = [_experiment(draw, index) for index in range(number)]
    clients = [_steps(draw, experiments[index::CLIENTS]) for index in range(CLIENTS)]
    step_count = sum(len(steps) for steps in clients)
    kinds = list(faults)
    more = max(0, number // EXPERIMENTS_PER_FAULT - len(kinds))
    kinds += draw.choices(list(faults), list(faults.values()), k=more)
    draw.shuffle(kinds)
    times = sorted(draw.sample(range(2, step_count), k=len(kinds)))
    planned_faults = [Fault(at, kind) for at, kind in zip(times, kinds, strict=True)]
    return Plan(seed, experiments, clients, planned_faults)


def _experiment(draw: random.Random, number: int) -> ExperimentPlan:
    behaviour = draw.choices(BEHAVIOURS, WEIGHTS)[0]
    return ExperimentPlan(
        experiment_id=f"chaos {number:04}-{behaviour}",
        epoch=draw.randint(5, 100),
        copies=draw.choices((1, 2), (3, 1))[0],
        patient=draw.random() < 0.8,
        retries=draw.choices((0, 1, 2), (1, 2, 2))[0],
        spared=draw.random() < 0.5,
        delete=draw.choices(("no", "row", "outputs"), (8, 1, 1))[0],
    )


def _steps(draw: random.Random, experiments: list[ExperimentPlan]) -> list[Step]:
    steps = []
    for number, experiment in enumerate(experiments):
        steps.append(Step("submit", experiment))
        for action, chance, back in (
            ("repeat", 0.3, 5),
            ("other", 0.15, 5),
            ("cancel", 0.25, 2),
            ("look", 0.3, 5),
        ):
            if draw.random() < chance:
                # An experiment that is not settled yet.
                target = experiments[draw.randint(max(0, number - back), number)]
                steps.append(Step(action, target))
        if number >= SETTLE_AFTER:
            steps.append(Step("settle", experiments[number - SETTLE_AFTER]))
    return steps + [Step("settle", experiment) for experiment in experiments[-SETTLE_AFTER:]]
