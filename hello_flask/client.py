"""The client: what a server can do, as methods."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from hello_flask.configuration import read
from hello_flask.experiment import Experiment
from hello_flask.inputs import Inputs
from hello_flask.listing import Experiments
from hello_flask.sweep import Sweep
from hello_flask.transport import PATIENCE_SECONDS, TIMEOUT_SECONDS, Query, Transport

DEFAULT_MODEL = "autoencoder"
PAGE = 200  # experiments in one answer
RESERVED = ("experiment_id", "model", "dataset", "size", "priority")  # no parameters
SWEEP_OPTIONS = (
    *("dataset", "size", "method", "metric", "goal", "trials", "parallel"),
    *("stop", "min_epoch", "eta", "promote", "max_failed", "seed"),
)


class Client:
    """A hello-flask server.

    A request that only reads is repeated for up to `patience` seconds while the server is away,
    and so is a submission, because a server never starts the same experiment twice.

    Attributes:
        inputs: the data sets.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        patience: float = PATIENCE_SECONDS,
        transport: Transport | None = None,
    ) -> None:
        """Use a server; nothing is sent yet.

        Args:
            url: its address; by default HELLO_FLASK_URL, the configuration file, or this machine.
            token: an access token; by default HELLO_FLASK_TOKEN, or the configuration file's.
            timeout: seconds without a byte after which an answer is given up.
            patience: seconds for which a request is repeated.
            transport: what sends the requests, instead of all these.

        Raises:
            ConfigurationError: the address, the token or the configuration file cannot be used.
        """
        self._transport = transport or Transport(
            read(url, token), timeout=timeout, patience=patience
        )
        self.inputs = Inputs(self._transport)

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._transport.url

    def submit(
        self,
        model: str | None = None,
        experiment_id: str | None = None,
        *,
        dataset: str | None = None,
        size: str | None = None,
        priority: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Experiment:
        """Submit an experiment, and return it without waiting for its end.

        Submitting the same again returns the experiment that exists, and starts nothing.

        Args:
            model: a model of the catalogue; `autoencoder` by default.
            experiment_id: names the experiment; by default the model, the time and a random part.
            dataset: a data set; by default all of them.
            size: one of the sizes of the model.
            priority: low, normal or high, among those that wait; normal by default.
            parameters: of the model, by name.
            more: parameters too: `learning_rate=0.001, epoch=20`.

        Raises:
            InvalidFields: a value is not valid; nothing was started.
            Conflict: the id belongs to an experiment with other values.
        """
        fields = dict(parameters or {}) | more
        if clash := [name for name in RESERVED if name in fields]:
            raise TypeError(f"{clash[0]} is no parameter: give it by its own name")
        chosen = {"model": model, "dataset": dataset, "size": size, "priority": priority}
        fields |= {name: value for name, value in chosen.items() if value is not None}
        # Chosen before the first request, so that the same can be sent again.
        fields["experiment_id"] = experiment_id or new_id(model or DEFAULT_MODEL)
        found, _ = self._transport.ask("POST", "/experiments", body=fields, repeatable=True)
        return Experiment(self._transport, found)

    def experiment(self, experiment_id: str) -> Experiment:
        """Return one experiment, with its progress, metrics, warnings and history.

        Raises:
            NotFound: there is none of this id.
        """
        return self.named(experiment_id).refresh()

    def named(self, experiment_id: str) -> Experiment:
        """Return an experiment of which only the id is known, without asking the server."""
        return Experiment(self._transport, {"experiment_id": experiment_id})

    def experiments(
        self,
        *,
        status: str | Sequence[str] | None = None,
        model: str | None = None,
        q: str | None = None,
        where: str | Sequence[str] = (),
        sort: str | None = None,
        limit: int | None = None,
    ) -> Experiments:
        """Return the experiments of a selection, newest first unless `sort` says otherwise.

        Args:
            status: only those with this status, or one of these.
            model: only those of this model.
            q: only those whose id contains this text.
            where: only those for which all these comparisons hold: `metrics.val_loss.min<0.1`.
            sort: such as `-created_at`, `learning_rate` or `metrics.val_loss.min`.
            limit: the largest number; None returns all.
        """
        query = _pairs(status=status, model=model, q=q, where=where, sort=sort)
        found = self._pages("/experiments", query, limit, cursor="after")
        return Experiments(Experiment(self._transport, data) for data in found)

    def start_sweep(
        self,
        model: str | None = None,
        sweep_id: str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Sweep:
        """Start a sweep, and return it without waiting for its end.

        Starting the same again returns the sweep that exists, and starts nothing.

        Args:
            model: a model of the catalogue; `autoencoder` by default.
            sweep_id: names the sweep; by default the model, the time and a random part.
            parameters: of the model, by name: a range such as "0.0001..0.1 log" or
                {"low": 0.0001, "high": 0.1}, a list of values, or one value.
            options: of the sweep, by name: those of SWEEP_OPTIONS.
            more: options too, and parameters under any other name:
                `learning_rate="0.0001..0.1", epoch=81, trials=64`.

        Raises:
            InvalidFields: a value is not valid; nothing was started.
            Conflict: the id belongs to a sweep with other values, or to something else.
        """
        chosen = dict(options or {}) | {
            name: more.pop(name) for name in SWEEP_OPTIONS if name in more
        }
        # A parameter may have the name of a field of the sweep.
        named = {
            f"parameter.{name}": each for name, each in (dict(parameters or {}) | more).items()
        }
        fields = {"model": model} | chosen | named
        fields = {name: value for name, value in fields.items() if value is not None}
        # Chosen before the first request, so that the same can be sent again.
        fields["sweep_id"] = sweep_id or new_id(model or DEFAULT_MODEL)
        found, _ = self._transport.ask("POST", "/sweeps", body=fields, repeatable=True)
        return Sweep(self._transport, found)

    def sweep(self, sweep_id: str) -> Sweep:
        """Return one sweep, with its best trial so far.

        Raises:
            NotFound: there is none of this id.
        """
        return self.named_sweep(sweep_id).refresh()

    def named_sweep(self, sweep_id: str) -> Sweep:
        """Return a sweep of which only the id is known, without asking the server."""
        return Sweep(self._transport, {"sweep_id": sweep_id})

    def sweeps(self, *, limit: int | None = None) -> list[Sweep]:
        """Return the sweeps, newest first.

        Args:
            limit: the largest number; None returns all.
        """
        found = self._pages("/sweeps", [], limit, cursor="before")
        return [Sweep(self._transport, data) for data in found]

    def _pages(
        self, path: str, query: Query, limit: int | None, *, cursor: str
    ) -> Iterator[Mapping[str, Any]]:
        """Yield what the pages of a list hold; `cursor` names the field that begins the next."""
        begin: list[str] = []
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page_query = [*query, ("limit", str(size)), *((cursor, text) for text in begin)]
            found, answer = self._transport.ask("GET", path, page_query)
            yield from found[:size]
            begin = _next(answer.headers.get("Link", ""), cursor)
            if not begin:
                return
            left = None if left is None else left - len(found)

    def compare(self, experiment_ids: Iterable[str], *, max_points: int | None = None) -> Any:
        """Return experiments side by side: common `epoch`s, and of each its results and curves."""
        pairs = [("id", each) for each in experiment_ids]
        return self._transport.ask("GET", "/compare", pairs + _pairs(max_points=max_points))[0]

    def models(self) -> Sequence[Mapping[str, Any]]:
        """Return the models of the catalogue, with the JSON Schema of each parameter."""
        found: Sequence[Mapping[str, Any]] = self._transport.ask("GET", "/models")[0]
        return found

    def model(self, name: str) -> Mapping[str, Any]:
        """Return one model of the catalogue.

        Raises:
            NotFound: there is none of this name.
        """
        found: Mapping[str, Any] = self._transport.ask("GET", f"/models/{quote(name, safe='')}")[0]
        return found

    def version(self) -> str:
        """Return the version of the server."""
        return str(self._transport.ask("GET", "/healthz")[0]["version"])


def new_id(model: str) -> str:
    """Return an id that no experiment has: the model, the time in UTC, and a random part."""
    return f"{model}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(3).hex()}"


def _pairs(**values: str | int | Sequence[str] | None) -> Query:
    """Return names and values as a query; a sequence repeats its name."""
    pairs: Query = []
    for name, value in values.items():
        if isinstance(value, str | int):
            pairs.append((name, str(value)))
        elif value is not None:
            pairs.extend((name, each) for each in value)
    return pairs


def _next(link: str, cursor: str) -> list[str]:
    """Return where the next page begins, by a Link header; nothing if there is none.

    Only the cursor is taken: a server may be behind a proxy that adds to its paths.
    """
    target, _, rest = link.partition(">")
    if 'rel="next"' not in rest:
        return []
    return parse_qs(urlsplit(target.removeprefix("<")).query).get(cursor, [])[:1]
