"""Requests about sweeps."""

from typing import Any

from apiflask.fields import Boolean, Integer, String
from apiflask.validators import Length, OneOf, Range
from marshmallow import INCLUDE, ValidationError, validates_schema

from backend.domain.catalogue import (
    AUTOENCODER,
    METRIC_NAME,
    Entry,
    Goal,
    InvalidParameters,
    Objective,
)
from backend.domain.identifiers import MAX_ID_CHARACTERS, SUFFIX_CHARACTERS, canonical
from backend.domain.identifiers import sweep_id_problem as problem_of
from backend.domain.objective import goal_of
from backend.domain.parameter import InvalidValue, Parameter, shown_value
from backend.domain.sweeps.sweep import MAX_DEFINITION_BYTES, MAX_PARALLEL, MAX_TRIALS
from backend.sweeps.plan import (
    DEFAULT_ETA,
    DEFAULT_MAX_FAILED,
    DEFAULT_MIN_EPOCH,
    DEFAULT_TRIALS,
    MAX_EPOCH,
    MAX_ETA,
    MAX_SEED,
    Plan,
)
from backend.sweeps.samplers import Method
from backend.sweeps.spaces import PREFIX, grid_size, read_space
from backend.sweeps.stopping import Rule
from backend.web.schemas.fields import Choice, Text, WholeNumber
from backend.web.schemas.strict import StrictSchema
from backend.web.schemas.submissions import entry_of_model

SORTS = ("number", "-number", "value", "-value")
MAX_PAGE = 1000
NOTHING_VARIES = (
    "nothing varies: send a range such as learning_rate=0.0001..0.1, or several values, for at "
    "least one parameter."
)


class SweepId(String):
    """Text that can name a sweep and, with a number, its trials; in the form NFC."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"must be text, such as s1; you sent {shown_value(value)}.")
        problem = problem_of(canonical(value))
        if problem:
            raise ValidationError(f"{problem}; you sent {shown_value(value)}.")
        return canonical(value)


class Count(Integer):
    """A whole number within limits, from a form or from JSON."""

    def __init__(self, low: int, high: int, **options: Any) -> None:
        super().__init__(validate=Range(low, high), **options)
        self._allowed = Parameter("count", "integer", minimum=low, maximum=high)

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> int:
        try:
            return int(self._allowed.parse(value))
        except InvalidValue as error:
            raise ValidationError(str(error)) from None


class Word(String):
    """One of several words."""

    def __init__(self, words: Any, **options: Any) -> None:
        allowed = f"must be one of {', '.join(words)}."
        super().__init__(validate=OneOf(list(words), error=allowed), **options)
        self.error_messages["invalid"] = allowed


class Switch(Boolean):
    """True or false, from a form or from JSON."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> bool:
        if value in (True, "true"):
            return True
        if value in (False, "false"):
            return False
        raise ValidationError(f"must be true or false; you sent {shown_value(value)}.")


class SweepIn(StrictSchema):
    """A sweep. Its other fields are the parameters of the model: ranges, choices and values."""

    repeatable = True  # fields of a form that are not named here may be sent several times

    class Meta(StrictSchema.Meta):
        """Leave unknown fields to `read_plan`."""

        unknown = INCLUDE

    sweep_id = SweepId(
        required=True,
        validate=Length(min=1, max=MAX_ID_CHARACTERS - SUFFIX_CHARACTERS),
        error_messages={"required": "is missing: send a name for the sweep, such as s1."},
        metadata={"description": "Names the sweep; its trials are s1-0001, ...", "example": "s1"},
    )
    model = Text(
        load_default=AUTOENCODER,
        error_messages={"invalid": "must be the name of a model, such as autoencoder."},
        metadata={"description": "A model of the catalogue.", "example": AUTOENCODER},
    )
    dataset = Choice(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "A file of the input folder, or several; all of them by default.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "null"},
            ],
        },
    )
    size = Text(
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be the name of a size of the model."},
        metadata={"description": "One of the sizes that the model names."},
    )
    method = Word(
        Method,
        load_default=Method.TPE,
        metadata={
            "description": "How parameters are chosen: `grid` tries each point once; `tpe` learns "
            "from earlier trials; `random` and `qmc` do not."
        },
    )
    metric = Text(
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be the name of a metric, such as val_loss."},
        metadata={"description": "The objective; by default that of the model."},
    )
    goal = Word(
        Goal,
        load_default=None,
        allow_none=True,
        metadata={"description": "Whether low or high values of the objective are good."},
    )
    trials = Count(
        1,
        MAX_TRIALS,
        load_default=None,
        metadata={
            "description": f"How many trials; {DEFAULT_TRIALS} by default, and each point of a "
            "grid.",
            "example": 20,
        },
    )
    parallel = Count(
        1,
        MAX_PARALLEL,
        load_default=None,
        metadata={"description": "How many at the same time; by default what fits.", "example": 2},
    )
    stop = Word(
        Rule,
        load_default=Rule.ASHA,
        metadata={"description": "Which trials are stopped early."},
    )
    min_epoch = Count(
        1,
        MAX_EPOCH,
        load_default=None,
        metadata={"description": "No trial is stopped before this epoch.", "example": 3},
    )
    eta = Count(
        2,
        MAX_ETA,
        load_default=DEFAULT_ETA,
        metadata={"description": "Of each rung of `asha`, one trial in `eta` goes on."},
    )
    promote = Switch(
        load_default=None,
        metadata={
            "description": "Whether `asha` lets trials that it has stopped too early go on, once "
            "all others have ended; it does by default.",
            "example": True,
        },
    )
    max_failed = Count(
        1,
        MAX_TRIALS,
        load_default=DEFAULT_MAX_FAILED,
        metadata={"description": "So many failures in a row end the sweep."},
    )
    seed = Count(
        0,
        MAX_SEED,
        load_default=0,
        metadata={
            "description": "The same seed leads to the same `random`, `qmc` and first `tpe` trials."
        },
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def read_plan(self, data: dict[str, Any], original: Any, **_options: Any) -> None:
        """Read the search space; replace the unknown fields by `plan` and `entry`.

        Raises:
            ValidationError: it names every field that is wrong, beside those that are wrong anyway.
        """
        if not isinstance(original, dict):
            return
        sent = {name: value for name, value in original.items() if name not in self.fields}
        for name in sent:
            data.pop(name, None)
        entry = entry_of_model(data["model"]) if "model" in data else None
        if entry is None:
            return
        problems, space, fixed = dict[str, str](), dict[str, Any](), dict[str, Any]()
        plain = {name.removeprefix(PREFIX): value for name, value in sent.items()}
        if len(plain) < len(sent):
            twice = [name for name in plain if name in sent and PREFIX + name in sent]
            problems |= dict.fromkeys(twice, "was sent more than once: send it once.")
        try:
            space, fixed = read_space(entry, plain)
            if not space:
                problems["_schema"] = NOTHING_VARIES
        except InvalidParameters as error:
            problems |= error.problems
        objective = _objective(data, entry, problems)
        _check_size(data, entry, problems)
        if data.get("promote") and data.get("stop") not in (None, Rule.ASHA):
            problems["promote"] = "goes with stop=asha alone: leave it out, or send stop=asha."
        if space and not problems:
            problems |= _grid_problems(data, space)
        wrong = {
            PREFIX + name if PREFIX + name in sent else name: [text]
            for name, text in problems.items()
        }
        if wrong:
            raise ValidationError(wrong)
        if objective and {"method", "stop", "eta", "promote", "max_failed", "seed"} <= data.keys():
            data["entry"], data["plan"] = entry, _plan(data, entry, space, fixed, plain, objective)


def _plan(
    data: dict[str, Any],
    entry: Entry,
    space: dict[str, Any],
    fixed: dict[str, Any],
    sent: dict[str, Any],
    objective: Objective,
) -> Plan:
    rule = Rule(data["stop"])
    plan = Plan(
        model=entry.name,
        space=dict(sorted(space.items())),  # the order of the fields does not matter
        fixed=fixed,
        sent=frozenset(sent),
        method=Method(data["method"]),
        metric=objective.metric,
        goal=objective.goal,
        stop=rule,
        min_epoch=data.get("min_epoch") or DEFAULT_MIN_EPOCH[rule],
        eta=data["eta"],
        max_failed=data["max_failed"],
        seed=data["seed"],
        entry_sha256=entry.sha256,
        dataset=data.get("dataset") or None,
        size=data.get("size") or None,
        trials=data.get("trials"),
        parallel=data.get("parallel"),
        promote=rule is Rule.ASHA if data["promote"] is None else data["promote"],
    )
    if len(plan.to_text().encode()) > MAX_DEFINITION_BYTES:
        raise ValidationError(f"the search space is too large: {MAX_DEFINITION_BYTES} bytes fit.")
    return plan


def _objective(data: dict[str, Any], entry: Entry, problems: dict[str, str]) -> Objective | None:
    """Return the objective that was sent, completed by that of the model."""
    metric, goal = data.get("metric"), data.get("goal")
    usual = entry.objective
    if metric is None and usual is None:
        problems["metric"] = (
            f"is missing: the model {entry.name} names no objective. Send the name of a metric "
            "that its trainer writes, such as val_loss."
        )
        return None
    metric = metric or (usual.metric if usual else "")
    if not METRIC_NAME.fullmatch(metric):
        problems["metric"] = f"must be the name of a metric, such as val_loss; not {metric[:80]!r}."
        return None
    if goal is None and "goal" in data:
        goal = usual.goal if usual and usual.metric == metric else goal_of(metric)
        if goal is None:
            problems["goal"] = f"is missing: send {' or '.join(Goal)}, which is good for {metric}."
    return Objective(metric, Goal(goal)) if goal else None


def _check_size(data: dict[str, Any], entry: Entry, problems: dict[str, str]) -> None:
    size = data.get("size")
    if size and size not in entry.sizes:
        known = f"one of {', '.join(entry.sizes)}" if entry.sizes else "none: it has no sizes"
        problems["size"] = f"must be a size of {entry.name}, {known}; not {shown_value(size)}."


def _grid_problems(data: dict[str, Any], space: dict[str, Any]) -> dict[str, str]:
    if data.get("method") != Method.GRID:
        return {}
    try:
        points = grid_size(space)
    except InvalidParameters as error:
        return error.problems
    if (data.get("trials") or 0) > points:
        return {"trials": f"must be at most {points}: the grid has no more points."}
    return {}


class SweepChangeIn(StrictSchema):
    """What to change about a sweep."""

    trials = Count(
        1,
        MAX_TRIALS,
        load_default=None,
        metadata={"description": "How many trials in all.", "example": 128},
    )
    parallel = Count(
        1,
        MAX_PARALLEL,
        load_default=None,
        metadata={"description": "How many at the same time.", "example": 4},
    )

    @validates_schema
    def check_any(self, data: dict[str, Any], **_options: Any) -> None:
        """Refuse a change of nothing."""
        if data.get("trials") is None and data.get("parallel") is None:
            raise ValidationError("there is nothing to change: send trials, parallel or both.")


class SweepListIn(StrictSchema):
    """Which sweeps to list."""

    limit = WholeNumber(
        load_default=100,
        validate=Range(min=1, max=MAX_PAGE),
        metadata={"description": "The largest number of sweeps to return."},
    )
    before = WholeNumber(
        validate=Range(min=1),
        metadata={"description": "The end of the previous page, from its Link header."},
    )


class TrialsIn(StrictSchema):
    """Which trials of a sweep to list, and in which order."""

    sort = Word(
        SORTS,
        load_default=SORTS[0],
        metadata={
            "description": "`number`, or `value`: the best first, those without a value last. "
            "With a leading `-` the other way round."
        },
    )
    pruned = Boolean(metadata={"description": "Only pruned trials, or only the others."})
    limit = WholeNumber(
        load_default=MAX_PAGE,
        validate=Range(min=1, max=MAX_TRIALS),
        metadata={"description": "The largest number of trials to return."},
    )


class TrialCurvesIn(StrictSchema):
    """Of which trials to read the curves."""

    first = WholeNumber(
        load_default=1,
        validate=Range(min=1, max=MAX_TRIALS),
        metadata={"description": "Only trials with this number or a higher one."},
    )
    limit = WholeNumber(
        load_default=500,
        validate=Range(min=1, max=MAX_PAGE),
        metadata={"description": "The largest number of trials; those with the highest numbers."},
    )
    max_points = WholeNumber(
        load_default=40,
        validate=Range(min=2, max=200),
        metadata={
            "description": "The largest number of epochs of each curve; extremes are kept, as in "
            "`GET /experiments/{experiment_id}/metrics`."
        },
    )
