"""The resources of a model's Jobs, and the sizes among which a person chooses."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from backend.domain.execution.keys import NAME, InvalidKey
from backend.domain.execution.queue import read_queue

MAX_SIZES = 20
QUEUE = "queue"  # in a size: the queue of its Jobs
# resource.Quantity of Kubernetes, without exponents
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?", re.ASCII)
RESOURCES = {
    "cpu": (QUANTITY, "a quantity such as 500m or 2"),
    "memory": (QUANTITY, "a quantity such as 512Mi or 4Gi"),
    "gpu": (re.compile(r"[0-9]{1,4}", re.ASCII), "a whole number"),
}


def read_resources(value: Any, key: str = "resources") -> Mapping[str, str]:
    """Return the cpu, memory and gpu that an entry has under `key`.

    Raises:
        InvalidKey: it is not an object of them.
    """
    if not isinstance(value, Mapping) or not set(value) <= set(RESOURCES):
        raise InvalidKey(f"{key} must be an object with {', '.join(RESOURCES)}.")
    texts, problems = dict[str, str](), []
    for name, amount in value.items():
        is_plain = isinstance(amount, int | float | str) and not isinstance(amount, bool)
        allowed, such_as = RESOURCES[name]
        if not is_plain or not allowed.fullmatch(str(amount)):
            problems.append(f"{key}: {name} must be {such_as}.")
        texts[name] = str(amount)
    if problems:
        raise InvalidKey(" ".join(problems))
    return MappingProxyType(texts)


def read_sizes(value: Any) -> Mapping[str, Mapping[str, str]]:
    """Return the sizes of an entry by name: resources, and the queue if one is named.

    Raises:
        InvalidKey: it is not an object of sizes.
    """
    is_valid = isinstance(value, Mapping) and len(value) <= MAX_SIZES
    if not is_valid or not all(isinstance(name, str) and NAME.fullmatch(name) for name in value):
        raise InvalidKey(
            f"sizes must be an object of at most {MAX_SIZES} sizes, whose names have a-z, 0-9 "
            "and '-'."
        )
    sizes, problems = dict[str, Mapping[str, str]](), []
    for name, size in value.items():
        try:
            sizes[name] = _size(size, f"sizes: {name}")
        except InvalidKey as error:
            problems.append(str(error))
    if problems:
        raise InvalidKey(" ".join(problems))
    return MappingProxyType(sizes)


def _size(value: Any, key: str) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or QUEUE not in value:
        return read_resources(value, key)
    resources = {name: amount for name, amount in value.items() if name != QUEUE}
    try:
        queue = read_queue(value[QUEUE])
    except InvalidKey as error:
        raise InvalidKey(f"{key}: {error}") from None
    return MappingProxyType({**read_resources(resources, key), QUEUE: queue})
