"""A list of experiments, which can become a table of pandas."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from hello_flask.errors import HelloFlaskError
from hello_flask.experiment import Experiment

if TYPE_CHECKING:
    import pandas

SHOWN = ("experiment_id", "model", "status", "attempt", "created_at")
NESTED = ("parameters", "metrics", "diagnosis")


class Experiments(Sequence[Experiment]):
    """Experiments in the order of the list."""

    def __init__(self, found: Iterable[Experiment]) -> None:
        self._found = list(found)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Experiment]:
        return iter(self._found)

    @overload
    def __getitem__(self, place: int) -> Experiment: ...

    @overload
    def __getitem__(self, place: slice) -> "Experiments": ...

    def __getitem__(self, place: int | slice) -> "Experiment | Experiments":
        if isinstance(place, slice):
            return Experiments(self._found[place])
        return self._found[place]

    def __repr__(self) -> str:
        return f"<Experiments: {len(self)}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        import html

        head = "".join(f"<th>{name}</th>" for name in SHOWN)
        rows = (
            "".join(f"<td>{html.escape(str(each.data.get(name, '')))}</td>" for name in SHOWN)
            for each in self
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one flat dict for each experiment.

        A parameter is `parameters.learning_rate`, a figure of a metric `metrics.val_loss.min`, a
        diagnosis `diagnosis.reason`.
        """
        return [dict(flat(each.data)) for each in self]

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a DataFrame with a row for each experiment and the columns of `to_rows`.

        Raises:
            HelloFlaskError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise HelloFlaskError("pandas is not installed: pip install pandas") from error
        frame = pandas.DataFrame(self.to_rows())
        for name in frame.columns:
            if name.endswith("_at"):
                frame[name] = pandas.to_datetime(frame[name], utc=True, format="ISO8601")
        return frame


def flat(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an experiment, and those of NESTED fields one by one."""
    for name, value in data.items():
        if name in NESTED:
            yield from _leaves(name, value)
        else:
            yield name, value


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    elif value is not None:
        yield name, value
