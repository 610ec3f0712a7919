"""A sweep that has trained many trials, as rows and files, for measurements."""

import json
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from backend.domain.experiment import new_values
from backend.domain.identifiers import trial_id
from backend.domain.status import Status
from backend.domain.sweeps.sweep import PRUNED
from backend.experiments.services import Services
from backend.store.tables import experiment, metric_summaries
from backend.sweeps.plan import Plan
from backend.sweeps.samplers import Method, suggest
from backend.sweeps.service import Sweeps
from backend.sweeps.spaces import read_space
from backend.sweeps.stopping import Rule

EPOCHS = 81
PRUNED_AT = 9  # epochs
SENT = {
    "learning_rate": "0.0001..0.1 log",
    "hidden": ["32", "64", "128"],
    "code": "2..32",
    "batch_size": "16..256 log",
    "epoch": str(EPOCHS),
}


def fill(services: Services, sweeps: Sweeps, sweep_id: str, trials: int, **options: Any) -> Plan:
    """Add a running sweep with this number of trials that have ended, and return its plan.

    Two in three were pruned. Each has its curve as a file, too.
    """
    entry = services.models.find("autoencoder")[0]
    assert entry
    assert entry.objective
    space, fixed = read_space(entry, SENT)
    plan = Plan(
        model="autoencoder",
        space=dict(sorted(space.items())),
        fixed=fixed,
        sent=frozenset(SENT),
        entry_sha256=entry.sha256,
        metric="val_loss",
        min_epoch=3,
        eta=3,
        max_failed=5,
        seed=1,
        trials=trials + 10,
        parallel=2,
        goal=entry.objective.goal,
        **({"method": Method.TPE, "stop": Rule.ASHA} | options),
    )
    sweeps.start(sweep_id, plan, entry)
    sweep = sweeps.get(sweep_id)
    rows = [_trial(services, plan, sweep_id, number) for number in range(1, trials + 1)]
    with services.store.database.engine.begin() as connection:
        for values, summary in rows:
            key = connection.execute(insert(experiment), values).inserted_primary_key
            assert key
            connection.execute(insert(metric_summaries), summary | {"experiment": key[0]})
    sweeps.table.update(sweep, {"issued": trials})
    return plan


def _trial(
    services: Services, plan: Plan, sweep_id: str, number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of a trial and of its summary, and write its curve."""
    chosen = suggest(plan.space, [], plan.seed, number, method=Method.RANDOM)
    parameters = plan.parameters({**plan.fixed, **chosen})
    name = trial_id(sweep_id, number)
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=10 * number)
    ended = {
        "status": Status.CANCELLED if number % 3 else Status.SUCCEEDED,
        "reason": PRUNED if number % 3 else None,
        "started_at": begin,
        "finished_at": begin + timedelta(seconds=8),
        "updated_at": begin + timedelta(seconds=8),
    }
    epochs = PRUNED_AT if number % 3 else EPOCHS
    losses = _curve(chosen, number)[:epochs]
    folder = services.outputs.folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"epoch": each + 1, "val_loss": loss}) for each, loss in enumerate(losses))
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    best = min(range(epochs), key=losses.__getitem__)
    worst = max(range(epochs), key=losses.__getitem__)
    figures = {
        "last": losses[-1],
        "last_epoch": epochs,
        "min": losses[best],
        "min_epoch": best + 1,
        "max": losses[worst],
        "max_epoch": worst + 1,
    }
    summary = {
        "attempt": 1,
        "is_final": True,
        "version": "1",
        "content": json.dumps({"val_loss": figures}),
    }
    return new_values(name, parameters, None, sweep_id) | ended, summary


def _curve(chosen: dict[str, Any], number: int) -> list[float]:
    """Return losses that fall, best at a learning rate of 0.003."""
    generator = random.Random(number)
    floor = 0.02 + 0.05 * abs(math.log10(chosen["learning_rate"] / 0.003)) + generator.random() / 50
    return [
        floor + 0.5 * math.exp(-epoch / 8) + generator.random() / 200 for epoch in range(EPOCHS)
    ]
