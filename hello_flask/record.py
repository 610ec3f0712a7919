"""What the server knows of one thing, as attributes."""

from collections.abc import Mapping
from typing import Any

from hello_flask.transport import Transport

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class Record:
    """An experiment or a sweep, with the fields of its JSON as attributes.

    The fields are as of the last request.

    Attributes:
        data: all fields, as the server sent them.
    """

    _kind = "record"  # in error sentences

    def __init__(self, transport: Transport, data: Mapping[str, Any]) -> None:
        self._transport = transport
        self.data: dict[str, Any] = dict(data)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "data":
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(
                f"the {self._kind} has no field {name!r}; it has {', '.join(self.data)}"
            ) from None

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    @property
    def is_live(self) -> bool:
        """Whether it had not ended when it was last read."""
        return self.data.get("status") not in ENDED

    @property
    def problem(self) -> str:
        """Why it failed or waits, as one sentence or two; empty if there is no diagnosis."""
        diagnosis = self.data.get("diagnosis") or {}
        return " ".join(str(diagnosis[key]) for key in ("message", "remedy") if diagnosis.get(key))
