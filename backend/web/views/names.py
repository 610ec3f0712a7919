"""Names of experiments: the next one of a series, and what a list of them need not repeat. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from backend.domain.attempt import environment_text
from backend.domain.experiment import Parameters
from backend.domain.identifiers import experiment_id_problem
from backend.domain.numbers import is_number
from backend.domain.parameter import NUMBER

MIN_SHARED = 6  # characters that names have in common before they are left out
# Digits at the end of an id that are not the end of a longer number (0.1, 1e-3, 12:30).
_COUNTER = re.compile(
    r"(|.*?(?<![0-9.,])(?<![0-9]:)(?<![0-9][eE][-+]))([0-9]{1,4})", re.ASCII | re.DOTALL
)
# What precedes a number that is a counter, whatever its value.
_COUNTED = re.compile(
    r"(?<![^\W\d_])(run|try|trial|test|exp|experiment|demo|실험|시도|시험|테스트)[ _#-]*$",
    re.IGNORECASE,
)
# What precedes a number that is a value: the name of a quantity, or the rest of a date or a time.
_VALUE_BEFORE = re.compile(
    r"(?<![a-z])(lr|learning[ _-]?rate|rate|epochs?|ep|batch([ _-]?size)?|bs|size|seed|dim|width|"
    r"depth|layers?|hidden|wd|decay|dropout)[ _=:-]*$|[0-9]{4}[-_./][0-9]{2}[-_./]$|[0-9]{8}[-_T]$",
    re.ASCII | re.IGNORECASE,
)


def next_id(experiment_id: str, parameters: Parameters | None = None) -> str:
    """Return an id for the next experiment of a series: run-1 -> run-2, run -> run-2.

    A number at the end is counted up only if it is a counter. One that is, or looks like, a value
    gets a counter of its own, or the id would name a value that the experiment does not have:
    lr-0.1 -> lr-0.1-2. An id that is too long for a counter is shortened.
    """
    match = _COUNTER.fullmatch(experiment_id)
    if match and not _is_value(match[1], match[2], parameters):
        head, digits = match.groups()
        suffix = f"{int(digits) + 1:0{len(digits)}d}"
    else:
        head, suffix = experiment_id, "-2"
    while head and experiment_id_problem(head + suffix):
        head = head[:-1]
    return head + suffix


def _is_value(head: str, digits: str, parameters: Parameters | None) -> bool:
    """Return whether the number at the end of an id is a value, of a parameter or of anything."""
    if _COUNTED.search(head) or not head:
        return False
    if head[-1].isalpha() or _VALUE_BEFORE.search(head):  # resnet50, lr-1
        return True
    if parameters is None or re.search(r"[0-9]-$", head):  # the counter of lr-0.1-2
        return False
    is_in_dataset = (head + digits).lower() in (parameters.dataset or "").lower()
    return is_in_dataset or int(digits) in (parameters.learning_rate, parameters.epoch)


def renamed(experiment_id: str, old: Mapping[str, Any], new: Mapping[str, str]) -> str:
    """Return an id in which the values of parameters are replaced by others.

    Only what can be nothing else counts as a value: lr-0.1 -> lr-0.05, but run-1 stays.

    Args:
        experiment_id: the id of an experiment.
        old: the values that it has.
        new: the texts of other values.
    """
    for name, text in new.items():
        value, text = old.get(name), text.strip()
        if not is_number(value) or not NUMBER.fullmatch(text) or float(text) == value:
            continue
        for shown in dict.fromkeys((environment_text(value), f"{value:g}")):
            match = re.search(rf"(?<![0-9.,]){re.escape(shown)}(?![0-9]|[.,][0-9])", experiment_id)
            if match is None:
                continue
            head, tail = experiment_id[: match.start()], experiment_id[match.end() :]
            if not shown.isdigit() or _VALUE_BEFORE.search(head):
                experiment_id = f"{head}{text}{tail}"
                break
    return experiment_id


def shared_start(names: Sequence[str]) -> int:
    """Return how many characters at the start of all names need not be shown.

    They are whole words, as in digits-lr-0.1 and digits-lr-0.2, and something is left of each name.
    """
    low, high = min(names), max(names)  # what these two share, all names between them do
    end = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    words = re.match(r".*([-_/: ]|(?<![0-9])[.])", low[:end], re.DOTALL)  # 0.1 is one word
    end = words.end() if words else 0
    is_worth_it = end >= MIN_SHARED and all(len(name) > end for name in names)
    return end if is_worth_it else 0
