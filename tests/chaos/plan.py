"""What the clients do and what breaks meanwhile, drawn from a seed. Pure."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

CLIENTS = 4
SETTLE_AFTER = 6  # submissions of the same client, so that runs live at the same time
RUNS_PER_FAULT = 4


@dataclass(frozen=True)
class RunPlan:
    """One experiment and what its client does with it.

    Attributes:
        copies: how many send the same form at the same moment.
        patient: whether an unanswered form is sent again.
        retries: how often it is tried again at most, if it fails or was cancelled.
        spared: whether it is not tried again once it was cancelled.
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
    def form(self) -> dict[str, str]:
        """What is sent."""
        epoch = str(self.epoch)
        return {"experiment_id": self.experiment_id, "learning_rate": "0.01", "epoch": epoch}


@dataclass(frozen=True)
class Step:
    """One thing that a client does: submit, repeat, other, cancel or settle."""

    what: str
    run: RunPlan


@dataclass(frozen=True)
class Fault:
    """Something breaks when so many steps have been done."""

    at: int
    kind: str


@dataclass(frozen=True)
class Plan:
    """Everything that is drawn from the seed.

    Attributes:
        clients: the steps of each client, in order.
    """

    seed: int
    runs: list[RunPlan]
    clients: list[list[Step]]
    faults: list[Fault]


def make_plan(seed: int, runs: int, faults: Mapping[str, int]) -> Plan:
    """Draw a plan; of `faults`, weights by kind, each comes at least once."""
    draw = random.Random(seed)
    planned = [_run(draw, number) for number in range(runs)]
    clients = [_steps(draw, planned[number::CLIENTS]) for number in range(CLIENTS)]
    steps = sum(len(one) for one in clients)
    kinds = list(faults)
    more = max(0, runs // RUNS_PER_FAULT - len(kinds))
    kinds += draw.choices(list(faults), list(faults.values()), k=more)
    draw.shuffle(kinds)
    times = sorted(draw.sample(range(2, steps), k=len(kinds)))
    return Plan(seed, planned, clients, [Fault(*one) for one in zip(times, kinds, strict=True)])


def _run(draw: random.Random, number: int) -> RunPlan:
    behaviour = draw.choices(("ok", "once", "always"), (7, 2, 1))[0]
    return RunPlan(
        experiment_id=f"chaos {number:04}-{behaviour}",
        epoch=draw.randint(5, 100),
        copies=draw.choices((1, 2), (3, 1))[0],
        patient=draw.random() < 0.8,
        retries=draw.choices((0, 1, 2), (1, 2, 2))[0],
        spared=draw.random() < 0.5,
        delete=draw.choices(("no", "row", "outputs"), (8, 1, 1))[0],
    )


def _steps(draw: random.Random, runs: list[RunPlan]) -> list[Step]:
    steps = []
    for number, run in enumerate(runs):
        steps.append(Step("submit", run))
        for what, chance, back in (("repeat", 0.3, 5), ("other", 0.15, 5), ("cancel", 0.25, 2)):
            if draw.random() < chance:  # of a run that is not settled yet
                steps.append(Step(what, runs[draw.randint(max(0, number - back), number)]))
        if number >= SETTLE_AFTER:
            steps.append(Step("settle", runs[number - SETTLE_AFTER]))
    return steps + [Step("settle", run) for run in runs[-SETTLE_AFTER:]]
