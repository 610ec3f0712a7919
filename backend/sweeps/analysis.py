"""The importance of the parameters of a sweep, as it is stored with the sweep.

The process that reconciles computes it, because it has imported Optuna anyway; the web only shows
what is stored.
"""

import json
import logging
from collections.abc import Sequence

from backend.domain.sweeps.sweep import Trial
from backend.sweeps.plan import Plan

MIN_TRIALS = 8  # with a value, before importances are worth showing
GROWTH = 1.25  # more trials than at the last analysis, before the next one

log = logging.getLogger(__name__)


def is_analysis_due(stored: str | None, trials: Sequence[Trial]) -> bool:
    """Return whether the importances should be computed again.

    Args:
        stored: what was stored last, if anything.
        trials: of the sweep.
    """
    before = json.loads(stored)["trials"] if stored else 0
    return _count(trials) >= max(MIN_TRIALS, GROWTH * before)


def analysis_of(plan: Plan, trials: Sequence[Trial]) -> str | None:
    """Return the importances as JSON, to be stored; None if too few trials have a value."""
    if _count(trials) < MIN_TRIALS:
        return None
    from backend.sweeps import tpe  # imported here: Optuna takes a second and 40 MB

    try:
        shares = tpe.importances(plan.space, trials, plan.goal)
    except Exception:  # a sweep does not have to wait for it
        log.exception("The importance of parameters cannot be computed")
        shares = {}
    found = {name: round(share, 6) for name, share in shares.items()}
    return json.dumps({"trials": _count(trials), "importance": found})


def _count(trials: Sequence[Trial]) -> int:
    return sum(not trial.is_live and trial.value is not None for trial in trials)
