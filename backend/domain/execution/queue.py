"""The queue of a model: the LocalQueue of Kueue that admits its Jobs."""

import re
from typing import Any

from backend.domain.execution.keys import InvalidKey

# What Kueue reads from a label of a Job: a DNS subdomain, of at most 63 characters.
LABEL_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)


def read_queue(value: Any) -> str:
    """Return the name of a LocalQueue, from an entry; empty for none.

    Raises:
        InvalidKey: it is not the name of one.
    """
    if value != "" and not (isinstance(value, str) and LABEL_NAME.fullmatch(value)):
        raise InvalidKey(
            "queue must be the name of a LocalQueue of Kueue, such as team-a: at most 63 "
            "characters of a-z, 0-9, '-' and '.'."
        )
    return str(value)
