"""Trials for the tests of sweeps."""

from backend.domain.status import Status
from backend.domain.sweeps.sweep import Trial


def make_trial(number, value=None, status=Status.SUCCEEDED, **options):
    options = {"parameters": {"x": 0.5}, "epochs": 20, "attempt": 1, "is_final": True} | options
    last = None if value is None else options["epochs"]
    return Trial(
        number,
        f"s-{number:04d}",
        number,
        status,
        value=value,
        value_epoch=last,
        **{"last_epoch": last} | options,
    )
