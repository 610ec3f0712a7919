"""The nodes of a model's experiments: a gang is an experiment that several of them train together.

Each node has one worker, a process with a rank from 0. The variables are those of torchrun's
options: MASTER_ADDR, MASTER_PORT, NNODES and NODE_RANK.
"""

from typing import Any

from backend.domain.execution.keys import InvalidKey

MAX_NODES = 32  # each has a pod, a log and a connection to every other one
MASTER_PORT = 29500  # where rank 0 waits for the others: the default of torchrun


def read_nodes(value: Any) -> int:
    """Return the number of nodes of an entry.

    Raises:
        InvalidKey: it is not a whole number within the limits.
    """
    if type(value) is not int or not 1 <= value <= MAX_NODES:
        raise InvalidKey(f"nodes must be a whole number from 1 to {MAX_NODES}.")
    return value


def is_gang(nodes: Any) -> bool:
    """Return whether a stored number of nodes is that of a gang."""
    return type(nodes) is int and 2 <= nodes <= MAX_NODES


def last_rank_characters(nodes: int | None) -> int:
    """Return how many characters the ranks of a gang add to its name: 2 for `-1`, 0 for no gang."""
    return len(f"-{nodes - 1}") if nodes else 0


def variables(nodes: int, address: str, port: int) -> dict[str, str]:
    """Return the variables that the workers of a gang have in common.

    Args:
        nodes: how many there are.
        address: the host name of the one with rank 0.
        port: where that one waits for the others.
    """
    return {"MASTER_ADDR": address, "MASTER_PORT": str(port), "NNODES": str(nodes)}
