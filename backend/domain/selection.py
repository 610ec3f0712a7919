"""Which experiments a list contains, in which order, and where a page of it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from backend.domain.conditions import Condition, metric_of, parameter_of
from backend.domain.execution.usage import PEAKS
from backend.domain.experiment import Experiment

# A leading `-` means latest first, or largest first.
SORTS = ("-created_at", "created_at", "-updated_at", "updated_at")
PARAMETER_SORTS = ("learning_rate", "-learning_rate", "epoch", "-epoch")
PEAK_SORTS = tuple(f"{sign}{name}" for name in PEAKS for sign in ("", "-"))
NUMBER_SORTS = (*PARAMETER_SORTS, *PEAK_SORTS)
SELECTIVE = ("experiment_id", "job", "sweep_id")  # fields that few experiments share a value of


@dataclass(frozen=True)
class Cursor:
    """The position in a sorted list after which the next page begins.

    Attributes:
        value: what the list is sorted by, of the last experiment of the page: a time or a number.
        id: that experiment's key, which orders experiments of the same value.
    """

    value: datetime | float
    id: int


@dataclass(frozen=True)
class Selection:
    """A filter and an order of experiments. A filter that is None or empty matches all.

    Attributes:
        statuses: match any of these.
        model: match this model.
        dataset: match if they use a file of this name, or with this SHA-256 digest.
        text: match if the experiment_id contains this, ignoring case and accents.
        tags: match if it has all of these.
        favourite: match favourites, or all others.
        created_after: match if created later than this.
        conditions: match all of these.
        sort: one of SORTS or PARAMETER_SORTS; or of PEAK_SORTS, or `metrics.NAME.FIGURE` or
            `parameters.NAME`, which leave out experiments without that number. With a leading `-`,
            largest first.
    """

    statuses: tuple[str, ...] = ()
    model: str | None = None
    dataset: str | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()
    favourite: bool | None = None
    created_after: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    sort: str = SORTS[0]

    @property
    def column(self) -> str:
        """The field that the list is sorted by."""
        return self.sort.removeprefix("-")

    @property
    def metric(self) -> tuple[str, str] | None:
        """The metric and its figure that the list is sorted by, if it is."""
        return metric_of(self.column)

    @property
    def parameter(self) -> str | None:
        """The parameter without a column of its own that the list is sorted by, if it is."""
        return parameter_of(self.column)

    @property
    def is_by_peak(self) -> bool:
        """Whether the list is sorted by the most that an attempt has used."""
        return self.sort in PEAK_SORTS

    @property
    def is_descending(self) -> bool:
        """Whether the latest or largest comes first."""
        return self.sort.startswith("-")

    @property
    def is_by_time(self) -> bool:
        """Whether the list is sorted by a time."""
        return self.sort in SORTS

    @property
    def is_search(self) -> bool:
        """Whether experiments are examined one by one, because no index leads to those it matches.

        Those of a tag, a data set, an id, a Job or a sweep are found at once.
        """
        if self.text is not None:
            return True
        is_found_at_once = any(
            one.operator == "=" and one.field in SELECTIVE for one in self.conditions
        )
        if self.tags or self.dataset is not None or is_found_at_once:
            return False
        return (
            bool(self.conditions)
            or self.model is not None
            or (self.created_after is not None and not self.is_by_time)
        )

    def cursor(self, last: Experiment) -> Cursor:
        """Return the cursor of a page, not sorted by a metric, that ends with `last`."""
        if self.parameter:
            return Cursor(float(last.parameters.values.get(self.parameter) or 0), last.id)
        return Cursor(getattr(last, self.column), last.id)


ALL = Selection()


class ListedExperiment(NamedTuple):
    """One row of a list, ready for JSON: times are text, as `timestamps.to_text` writes them.

    A named tuple, because a database row becomes one without a step per column.
    """

    experiment_id: str
    model: str
    learning_rate: float
    epoch: int
    dataset: str | None
    status: str
    attempt: int
    job: str
    reason: str | None
    message: str | None
    remedy: str | None
    created_at: str
    updated_at: str
    started_at: str | None
    finished_at: str | None
    cancel_requested_at: str | None
    model_parameters: str | None
    size: str | None
    entry_sha256: str | None
    image: str | None
    tags: str | None  # JSON
    favourite: bool | None
    revision: int | None
    submitted_by: str | None
    sweep_id: str | None
    trial: int | None
    priority: str | None
    peak_cpu: float | None
    peak_memory: int | None
    peak_gpu: float | None
    peak_gpu_memory: int | None
    nodes: int | None
    id: int
    metrics: str | None  # JSON: by name, the members of MetricSummary


@dataclass(frozen=True)
class Listing:
    """One page of a list.

    Attributes:
        version: identifies the content of the page; it changes whenever the page does.
        experiments: in the order of the selection.
        following: where the next page begins; None on the last page.
    """

    version: str
    experiments: Sequence[ListedExperiment]
    following: Cursor | None
