"""Responses about sweeps."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from apiflask import Schema
from apiflask.fields import Boolean, DateTime, Dict, Float, Integer, List, Nested, Raw, String
from apiflask.validators import OneOf

from backend.domain.catalogue import AUTOENCODER
from backend.domain.sweeps.sweep import Standing, Sweep, SweepStatus, Trial
from backend.domain.timestamps import to_text
from backend.files.curve_table import Curve
from backend.sweeps.plan import Plan
from backend.sweeps.progress import best_so_far, sweep_progress
from backend.web.languages.current import translated
from backend.web.schemas.experiments import DiagnosisOut, dataset_out

_COUNTS = {"succeeded": 12, "pruned": 6, "running": 2}
_OF_TRIAL = (  # members of TrialOut that are those of a Trial
    *("number", "experiment_id", "status", "reason", "message", "value", "value_epoch"),
    *("last_epoch", "epochs", "attempt"),
)
_PARAMETERS = {"learning_rate": 0.0021, "epoch": 81, "hidden": 64}


class BestTrialOut(Schema):
    """The best trial of a sweep so far."""

    experiment_id = String(metadata={"example": "s1-0007"})
    value = Float(metadata={"example": 0.0312})
    epoch = Float(metadata={"description": "The first epoch with that value.", "example": 79})
    parameters = Dict(metadata={"example": _PARAMETERS})


class SweepOut(Schema):
    """A sweep."""

    sweep_id = String(metadata={"example": "s1"})
    model = String(metadata={"example": AUTOENCODER})
    status = String(validate=OneOf(list(SweepStatus)), metadata={"example": "running"})
    space = Dict(
        metadata={
            "description": "What varies, by parameter: a range, or a list of values.",
            "example": {
                "learning_rate": {"low": 0.0001, "high": 0.1, "log": True},
                "hidden": [32, 64, 128],
            },
        }
    )
    fixed = Dict(
        metadata={"description": "The other parameters of the model.", "example": {"epoch": 81}}
    )
    dataset = Raw(
        allow_none=True,
        metadata={
            "description": "The file that was chosen, an array of several, or null for every file.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "null"},
            ],
        },
    )
    size = String(allow_none=True, metadata={"example": None})
    method = String(metadata={"example": "tpe"})
    metric = String(metadata={"description": "The objective.", "example": "val_loss"})
    goal = String(metadata={"example": "minimize"})
    stop = String(metadata={"example": "asha"})
    min_epoch = Integer(metadata={"example": 3})
    eta = Integer(metadata={"example": 3})
    promote = Boolean(metadata={"example": True})
    max_failed = Integer(metadata={"example": 5})
    seed = Integer(metadata={"example": 0})
    trials = Integer(metadata={"description": "How many it may have.", "example": 64})
    parallel = Integer(metadata={"description": "How many at the same time.", "example": 4})
    submitted = Integer(metadata={"description": "How many were submitted.", "example": 20})
    counts = Dict(
        keys=String(),
        values=Integer(),
        metadata={
            "description": "How many trials have each status, or were `pruned`.",
            "example": _COUNTS,
        },
    )
    best = Nested(BestTrialOut, allow_none=True)
    diagnosis = Nested(DiagnosisOut, allow_none=True)
    entry_sha256 = String(metadata={"description": "The digest of the model's entry."})
    created_at = DateTime()
    updated_at = DateTime()
    finished_at = DateTime(allow_none=True)
    delete_requested_at = DateTime(allow_none=True)


class SweepDetailOut(SweepOut):
    """A sweep with its figures."""

    epochs_spent = Integer(metadata={"description": "Epochs that were trained.", "example": 410})
    epochs_saved = Integer(
        metadata={"description": "Epochs that pruned trials were spared.", "example": 922}
    )
    ends_at = DateTime(
        allow_none=True, metadata={"description": "An estimate, while the sweep is running."}
    )


class StartedSweepOut(SweepOut):
    """The response to a new sweep."""

    message = String(metadata={"example": "Sweep Started"})
    ui_url = String(
        metadata={
            "description": "The page of the sweep in the dashboard.",
            "example": "http://127.0.0.1:31112/ui/sweeps/s1",
        }
    )


class TrialOut(Schema):
    """A trial. GET /experiments/{experiment_id} shows the rest of it."""

    number = Integer(metadata={"example": 7})
    experiment_id = String(metadata={"example": "s1-0007"})
    status = String(metadata={"example": "succeeded"})
    reason = String(allow_none=True, metadata={"description": "`pruned`, if the sweep stopped it."})
    message = String(allow_none=True, metadata={"description": "Why it was stopped or failed."})
    value = Float(
        allow_none=True,
        metadata={"description": "The best value of the objective.", "example": 0.0312},
    )
    value_epoch = Float(allow_none=True, metadata={"example": 79})
    last_epoch = Float(allow_none=True, metadata={"example": 81})
    epochs = Integer(metadata={"description": "How many it was to train.", "example": 81})
    attempt = Integer(metadata={"example": 1})
    parameters = Dict(metadata={"example": _PARAMETERS})
    started_at = DateTime(allow_none=True)
    finished_at = DateTime(allow_none=True)


class BestSoFarOut(Schema):
    """A trial with a value, and the best value up to it."""

    number = Integer(metadata={"example": 7})
    value = Float(metadata={"example": 0.0312})
    best = Float(metadata={"example": 0.0312})


class AnalysisOut(Schema):
    """What a sweep has shown."""

    metric = String(metadata={"example": "val_loss"})
    goal = String(metadata={"example": "minimize"})
    best_so_far = List(Nested(BestSoFarOut))
    importance = Dict(
        keys=String(),
        values=Float(),
        allow_none=True,
        metadata={
            "description": "The share of each parameter in how good a trial is (PED-ANOVA), the "
            "largest first; null before enough trials have a value.",
            "example": {"learning_rate": 0.9, "hidden": 0.1},
        },
    )
    importance_trials = Integer(
        metadata={"description": "How many trials the importance was computed from.", "example": 20}
    )


class TrialCurveOut(Schema):
    """The objective of a trial by epoch."""

    number = Integer(metadata={"example": 7})
    experiment_id = String(metadata={"example": "s1-0007"})
    outcome = String(metadata={"description": "The status, or `pruned`.", "example": "succeeded"})
    best = Float(allow_none=True, metadata={"description": "The best value.", "example": 0.0312})
    parameters = Dict(
        metadata={"description": "Those that vary.", "example": {"learning_rate": 0.0021}}
    )
    epoch = List(Float(), metadata={"example": [1, 2, 3]})
    value = List(
        Float(allow_none=True),
        metadata={
            "description": "The objective at each `epoch`; null where it was not finite.",
            "example": [0.31, 0.12, 0.0312],
        },
    )


class TrialCurvesOut(Schema):
    """The objective of many trials by epoch."""

    metric = String(metadata={"example": "val_loss"})
    goal = String(metadata={"example": "minimize"})
    trials = List(Nested(TrialCurveOut))
    complete = Boolean(
        metadata={
            "description": "Whether all files were read to their ends; if not, the next request "
            "reads on."
        }
    )


def sweep_out(sweep: Sweep, standing: Standing) -> dict[str, Any]:
    """Return a sweep with the members of SweepOut."""
    plan = Plan.from_text(sweep.definition)
    diagnosis = None
    if sweep.reason:
        diagnosis = {
            "reason": sweep.reason,
            "message": sweep.message and translated(sweep.message),
            "remedy": sweep.remedy and translated(sweep.remedy),
        }
    return {
        "sweep_id": sweep.sweep_id,
        "model": sweep.model,
        "status": sweep.status,
        "space": {name: dimension.to_json() for name, dimension in plan.space.items()},
        "fixed": dict(plan.fixed),
        "dataset": dataset_out(plan.dataset),
        "size": plan.size,
        "method": plan.method,
        "metric": plan.metric,
        "goal": plan.goal,
        "stop": plan.stop,
        "min_epoch": plan.min_epoch,
        "eta": plan.eta,
        "promote": plan.promote,
        "max_failed": plan.max_failed,
        "seed": plan.seed,
        "trials": sweep.trials,
        "parallel": sweep.parallel,
        "submitted": sweep.issued,
        "counts": dict(standing.counts),
        "best": _best_out(standing.best),
        "diagnosis": diagnosis,
        "entry_sha256": plan.entry_sha256,
        **{
            name: _time(getattr(sweep, name))
            for name in ("created_at", "updated_at", "finished_at", "delete_requested_at")
        },
    }


def sweep_detail_out(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return a sweep with the members of SweepDetailOut."""
    plan = Plan.from_text(sweep.definition)
    figures = sweep_progress(
        trials,
        plan.goal,
        planned=sweep.trials,
        parallel=sweep.parallel,
        is_running=sweep.status is SweepStatus.RUNNING,
        now=datetime.now(UTC),
    )
    return sweep_out(sweep, Standing(figures.counts, figures.best)) | {
        "epochs_spent": figures.epochs_spent,
        "epochs_saved": figures.epochs_saved,
        "ends_at": _time(figures.ends_at),
    }


def _best_out(trial: Trial | None) -> dict[str, Any] | None:
    return trial and {
        "experiment_id": trial.experiment_id,
        "value": trial.value,
        "epoch": trial.value_epoch,
        "parameters": dict(trial.parameters),
    }


def sweep_event_out(sweep: Sweep) -> dict[str, Any]:
    """Return what is streamed of a sweep that has changed."""
    return {
        "sweep_id": sweep.sweep_id,
        "status": sweep.status,
        "trials": sweep.trials,
        "parallel": sweep.parallel,
        "reason": sweep.reason,
        "at": to_text(sweep.updated_at),
    }


def trial_out(trial: Trial) -> dict[str, Any]:
    """Return a trial with the members of TrialOut."""
    return {
        **{name: getattr(trial, name) for name in _OF_TRIAL},
        "message": trial.message and translated(trial.message),
        "parameters": dict(trial.parameters),
        "started_at": _time(trial.started_at),
        "finished_at": _time(trial.finished_at),
    }


def analysis_out(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the analysis of a sweep with the members of AnalysisOut."""
    plan = Plan.from_text(sweep.definition)
    stored = orjson.loads(sweep.analysis) if sweep.analysis else {}
    shares = stored.get("importance") or None
    if shares:
        shares = dict(sorted(shares.items(), key=lambda each: -each[1]))
    return {
        "metric": plan.metric,
        "goal": plan.goal,
        "best_so_far": [
            {"number": trial.number, "value": trial.value, "best": best}
            for trial, best in best_so_far(trials, plan.goal)
        ],
        "importance": shares,
        "importance_trials": stored.get("trials", 0) if shares else 0,
    }


def trial_curves_out(plan: Plan, found: Sequence[tuple[Trial, Curve]]) -> dict[str, Any]:
    """Return the curves of trials with the members of TrialCurvesOut."""
    return {
        "metric": plan.metric,
        "goal": plan.goal,
        "trials": [
            {
                "number": trial.number,
                "experiment_id": trial.experiment_id,
                "outcome": trial.outcome,
                "best": trial.value,
                "parameters": {name: trial.parameters.get(name) for name in plan.space},
                "epoch": curve.epochs if plan.metric in curve.series else [],
                "value": curve.series.get(plan.metric, []),
            }
            for trial, curve in found
        ],
        "complete": all(curve.complete for _, curve in found),
    }


def _time(value: datetime | None) -> str | None:
    return to_text(value) if value else None
