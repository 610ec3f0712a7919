"""Parses quantities of Kubernetes, such as 250m, 128Mi or 123456789n.

Kubernetes documentation, Common definitions, Quantity. The parser of the official client is not
used: importing it imports the classes of all API groups, which take 25 MB.
"""

import re
from typing import Any

_QUANTITY = re.compile(
    r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:([KMGTPE]i)|([numkMGTPE]?)|[eE]([+-]?[0-9]{1,2}))",
    re.ASCII,
)
_BINARY = {f"{prefix}i": 2.0 ** (10 * power) for power, prefix in enumerate("KMGTPE", start=1)}
_DECIMAL = {prefix: 10.0 ** (3 * power) for power, prefix in enumerate("num", start=-3)}
_DECIMAL |= {"": 1.0} | {prefix: 10.0 ** (3 * n) for n, prefix in enumerate("kMGTPE", start=1)}


def parse_quantity(text: Any) -> float | None:
    """Return the number that a quantity stands for; None for anything else, and below 0."""
    found = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    number, binary, decimal, exponent = found.groups()
    if exponent is not None:
        return float(f"{number}e{exponent}")
    return float(number) * (_BINARY[binary] if binary else _DECIMAL[decimal])
