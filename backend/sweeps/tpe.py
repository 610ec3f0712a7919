"""Suggestions and importances by Optuna. Only the process that reconciles imports this module.

A study is made in memory from the rows of the trials for each call, and dropped afterwards. So it
holds nothing that a restart or a second reconciler would miss.
"""

import hashlib
import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from backend.domain.catalogue import Goal
from backend.domain.parameter import Value
from backend.domain.status import Status
from backend.domain.sweeps.sweep import Trial
from backend.sweeps.spaces import Choices, Dimension, Space

MIN_TRIALS = 4  # with a value, before importances mean anything

optuna.logging.set_verbosity(optuna.logging.ERROR)


def suggest(
    space: Space, history: Sequence[Trial], seed: int, number: int, goal: Goal
) -> dict[str, Value]:
    """Return the suggestion of TPE for a trial; see `samplers.suggest`.

    Live trials are taken to be bad ones ("constant liar"), so that trials that run at the same time
    are not all the same.
    """
    digest = hashlib.sha256(f"{seed}-{number}".encode()).digest()
    sampler = TPESampler(
        seed=int.from_bytes(digest[:4], "big"), multivariate=True, constant_liar=True
    )
    distributions = {name: _distribution(dimension) for name, dimension in space.items()}
    frozen = [
        found for trial in history if (found := _frozen(trial, space, distributions)) is not None
    ]
    suggested = _study(goal, sampler, frozen).ask(distributions).params
    return {name: _native(suggested[name], space[name]) for name in space}


def importances(space: Space, history: Sequence[Trial], goal: Goal) -> dict[str, float]:
    """Return the share of each parameter in how good a trial is, by PED-ANOVA; they add up to 1.

    The result is empty before enough trials have a value.
    """
    distributions = {name: _distribution(dimension) for name, dimension in space.items()}
    frozen = [
        create_trial(
            params=_chosen(trial, space), distributions=distributions, value=float(trial.value)
        )
        for trial in history
        if trial.value is not None and not trial.is_live and _is_inside(trial, space)
    ]
    if len(frozen) < MIN_TRIALS or len({one.value for one in frozen}) < 2:
        return {}
    study = _study(goal, TPESampler(seed=0), frozen)
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {name: float(found.get(name, 0.0)) for name in space}


def _study(goal: Goal, sampler: BaseSampler, trials: Sequence[FrozenTrial]) -> Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that options of the sampler may change in a later version
        study = optuna.create_study(direction=goal.value, sampler=sampler)
    study.add_trials(trials)
    return study


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    count = None if dimension.log else dimension.count
    # Optuna wants a high end that the steps reach.
    high = dimension.high if count is None else dimension.value(count - 1)
    if dimension.is_integer:
        step = int(dimension.step or 1)
        return IntDistribution(int(dimension.low), int(high), log=dimension.log, step=step)
    return FloatDistribution(
        dimension.low,
        float(high),
        log=dimension.log,
        step=None if dimension.log else dimension.step,
    )


def _frozen(
    trial: Trial, space: Space, distributions: dict[str, BaseDistribution]
) -> FrozenTrial | None:
    """Return a trial of ours as one of Optuna's; None if it teaches nothing.

    A pruned trial is one that was stopped at its last epoch; one without a value, because that was
    never finite, is the worst of all. A failed or cancelled one says nothing about its parameters.
    """
    if not _is_inside(trial, space):
        return None
    value, steps = None, None
    if trial.is_live:
        state = TrialState.RUNNING
    elif trial.status is Status.SUCCEEDED and trial.value is not None:
        state, value = TrialState.COMPLETE, float(trial.value)
    elif trial.status is Status.SUCCEEDED or trial.is_pruned:
        state = TrialState.PRUNED
        if trial.value is not None:
            steps = {int(trial.last_epoch or 0): float(trial.value)}
    else:
        return None
    return create_trial(
        state=state,
        value=value,
        params=_chosen(trial, space),
        distributions=distributions,
        intermediate_values=steps,
    )


def _chosen(trial: Trial, space: Space) -> dict[str, Value]:
    return {name: trial.parameters[name] for name in space}


def _is_inside(trial: Trial, space: Space) -> bool:
    """Return whether the values of a trial are in the space; those of a damaged row may not be."""
    for name, dimension in space.items():
        value = trial.parameters.get(name)
        if isinstance(dimension, Choices):
            if value not in dimension.values:
                return False
        elif not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
            return False
    return True


def _native(value: Value, dimension: Dimension) -> Value:
    """Return a value as Python's own type: Optuna returns numbers of NumPy in places."""
    if isinstance(dimension, Choices):
        return value
    return int(value) if dimension.is_integer else float(value)
