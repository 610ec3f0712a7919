"""The server that a database belongs to: where the Jobs of its experiments run."""

import json
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Owner:
    """Where the Jobs of a database's experiments run.

    Attributes:
        launcher: "kubernetes" or "local".
        place: the namespace, or the real path of the output folder.
        marks: values that identify the cluster or the machine, each as `kind:value`. A server may
            know only some of them.
    """

    launcher: str
    place: str
    marks: frozenset[str]

    def is_same(self, other: "Owner") -> bool:
        """Return whether both are one place: all that is compared is equal, and one mark is."""
        here, there = (self.launcher, self.place), (other.launcher, other.place)
        return here == there and not self.marks.isdisjoint(other.marks)

    def joined(self, other: "Owner") -> "Owner":
        """Return this owner with the marks of both."""
        return replace(self, marks=self.marks | other.marks)

    def to_text(self) -> str:
        """Return the text that the database stores."""
        content = {"launcher": self.launcher, "place": self.place, "marks": sorted(self.marks)}
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> "Owner":
        """Return the owner that `to_text` wrote."""
        content = json.loads(text)
        return cls(content["launcher"], content["place"], frozenset(content["marks"]))

    def __str__(self) -> str:
        kind = "namespace" if self.launcher == "kubernetes" else "OUTPUT_DIR"
        host = "cluster" if self.launcher == "kubernetes" else "machine"
        marks = ", ".join(_shortened(mark) for mark in sorted(self.marks))
        return f"LAUNCHER={self.launcher}, {kind} {self.place}, {host} {marks}"


def _shortened(mark: str) -> str:
    """Return enough of a mark for a person to recognise it."""
    kind, _, value = mark.partition(":")
    return mark if kind == "server" else f"{kind}:{value[:8]}"
