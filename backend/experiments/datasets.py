"""Deletes data sets, unless experiments need them."""

from backend.domain.conditions import Condition
from backend.domain.exceptions import MAX_NAMES, InputInUse, UnknownFile
from backend.domain.selection import Selection
from backend.domain.status import LIVE
from backend.experiments.service import Experiments
from backend.files.inputs import Inputs


def delete(inputs: Inputs, experiments: Experiments, name: str, *, force: bool) -> None:
    """Delete a data set.

    Args:
        inputs: the data sets.
        experiments: those that may need it.
        name: of the data set, in one of the forms of Unicode.
        force: delete it although live experiments use it.

    Raises:
        UnknownFile: there is no data set of this name.
        InputInUse: live experiments use it, and `force` is not set.
        InputBusy, InputUnwritable: it cannot be deleted now.
    """
    name = inputs.stored_name(name)
    if not inputs.find(name):
        raise UnknownFile(name)
    users = [] if force else _users(experiments, name)
    if users:
        raise InputInUse(name, users)
    if not inputs.delete(name):
        raise UnknownFile(name)


def _users(experiments: Experiments, name: str) -> list[str]:
    """Return the ids of live experiments that use a data set, at most MAX_NAMES.

    One that was submitted without a data set uses all.
    """
    found = []
    for value in (name, None):
        condition = Condition("dataset", "=", value)
        selection = Selection(statuses=LIVE, conditions=(condition,))
        found += experiments.page(limit=MAX_NAMES, selection=selection)
    return [each.experiment_id for each in found[:MAX_NAMES]]
