"""What people have added to an experiment, and changes of it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

MAX_TAGS = 50  # of one experiment
MAX_REVISION = 2**31 - 1  # INT of MySQL


class TooManyTags(Exception):
    """An experiment would have more than MAX_TAGS tags."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"An experiment has at most {MAX_TAGS} tags, and this would be {number}: remove some."
        )


class AnnotationsChanged(Exception):
    """The annotations of an experiment were changed since they were read."""

    def __init__(self, experiment_id: str, revision: int) -> None:
        super().__init__(
            f"The tags or the note of {experiment_id!r} were changed meanwhile: their revision is "
            f"{revision}. Read them again, and send your change with that revision, or with none."
        )


@dataclass(frozen=True)
class Annotations:
    """What people have added to an experiment.

    Attributes:
        tags: sorted, without duplicates.
        note: Markdown; an empty text if there is none.
        revision: the number of changes so far.
    """

    tags: tuple[str, ...] = ()
    note: str = ""
    favourite: bool = False
    revision: int = 0


@dataclass(frozen=True)
class AnnotationChange:
    """A change of the annotations of an experiment. What is None or empty stays as it is.

    Attributes:
        tags: replaces all tags.
        added: tags to add.
        removed: tags to remove.
        revision: change nothing unless the annotations have this revision.
    """

    tags: tuple[str, ...] | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    note: str | None = None
    favourite: bool | None = None
    revision: int | None = None

    def apply(self, current: Annotations) -> Annotations:
        """Return the annotations after the change; `current` itself if nothing is different.

        Raises:
            TooManyTags: there would be more than MAX_TAGS.
        """
        tags = set(current.tags if self.tags is None else self.tags)
        tags = (tags | set(self.added)) - set(self.removed)
        changed = Annotations(
            sorted_tags(tags),
            current.note if self.note is None else self.note,
            current.favourite if self.favourite is None else self.favourite,
            current.revision,
        )
        if changed == current:
            return current
        if len(tags) > max(MAX_TAGS, len(current.tags)):
            raise TooManyTags(len(tags))
        following = min(current.revision + 1, MAX_REVISION)
        return Annotations(changed.tags, changed.note, changed.favourite, following)


def sorted_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags in the order in which they are stored and shown."""
    return tuple(sorted(set(tags)))
