"""MLflow's tracking server on the same MySQL: memory, start, pages of the list, new experiments.

Both run with their defaults: MLflow with four workers, ours with two and the reconciler. MLflow's
runs have the same name and the same two parameters as our experiments, and no metrics.
"""

import base64
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from urllib.parse import quote

from sqlalchemy import NullPool, create_engine, make_url, text

from bench.databases import mysql
from bench.figures import Growth, Row
from bench.kubernetes.reconcile import NAMESPACE, kubectl, namespace
from bench.pages import listing
from bench.peers.programs import (
    CONNECTIONS,
    Program,
    ask,
    in_turn,
    ratio,
    requests_per_second,
    running,
)
from bench.server import free_address

BIN = Path(__file__).with_name(".venv-mlflow") / "bin"
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
SEARCH = "api/2.0/mlflow/runs/search"
CREATE = "api/2.0/mlflow/runs/create"
OUR_FORM = '{"experiment_id": "new-{n}", "learning_rate": 0.001, "epoch": 20}'
LOCAL = {"LAUNCHER": "local"}
KUBERNETES = {
    "LAUNCHER": "kubernetes",
    "AE_MODEL_IMAGE_URL": "autoencoder",
    "JOB_NAMESPACE": NAMESPACE,
}

Pair = list[list[float]]  # ours and theirs, round by round


@dataclass(frozen=True)
class Size:
    """The size of a measurement.

    Attributes:
        steps: Numbers of experiments, ascending.
        rounds: Number of alternating rounds.
        seconds: Duration of a load.
        starts: How often the start is measured.
    """

    steps: tuple[int, ...]
    rounds: int
    seconds: float
    starts: int


WHOLE, QUICK = Size((1000, 30_000, 1_000_000), 3, 3, 3), Size((1000, 5000), 2, 1, 1)


@dataclass
class Figures:
    """The results.

    Attributes:
        start: Seconds to the first answer.
        idle: Megabytes and number of processes, of ours and of MLflow.
        first_page: Requests per second, by the number of experiments.
        middle_page: The same, of the page in the middle.
        create: New experiments per second, by what ours creates for each.
    """

    start: Pair = field(default_factory=list)
    idle: list[tuple[float, int]] = field(default_factory=list)
    first_page: dict[int, Pair] = field(default_factory=dict)
    middle_page: dict[int, Pair] = field(default_factory=dict)
    create: dict[str, Pair] = field(default_factory=dict)


def rows(quick: bool) -> Iterator[Row]:
    """Yield the comparisons."""
    size = QUICK if quick else WHOLE
    figures = measure(size)
    (mine, my_count), (its, its_count) = figures.idle
    yield Row(
        "idle memory (PSS) on MySQL",
        f"{mine:.0f} MB in {my_count} processes",
        f"MLflow: {its:,.0f} MB in {its_count}",
        its / mine,
    )
    ours, theirs = figures.start
    yield Row(
        "start to first answer, migrated MySQL",
        f"{median(ours):.2f} s",
        f"MLflow: {median(theirs):.1f} s",
        ratio(theirs, ours),
    )
    for step in size.steps[1:]:
        for what, pairs in (("newest", figures.first_page), ("middle", figures.middle_page)):
            ours, theirs = pairs[step]
            is_goal = step == size.steps[-1]
            faster = ratio(ours, theirs)
            yield Row(
                f"the {what} 100 of {step:,} experiments, {CONNECTIONS} connections",
                f"{median(ours):,.0f}/s (`GET /model`)",
                f"MLflow: {median(theirs):,.1f}/s (`runs/search`)",
                faster,
                ">= 20" if is_goal else "",
                faster >= 20 if is_goal else None,
            )
    for what, (ours, theirs) in figures.create.items():
        yield Row(
            f"new experiments, {CONNECTIONS} connections",
            f"{median(ours):.0f}/s (`POST /test`: {what})",
            f"MLflow: {median(theirs):.0f}/s (`runs/create`: a row)",
            ratio(ours, theirs),
        )


def growths() -> Iterator[Growth]:
    """Yield how a page grows with the experiments, from the same measurement."""
    figures = measure(WHOLE)
    series: dict[str, list[tuple[float, float]]] = {}
    for what, pairs in (("newest", figures.first_page), ("middle", figures.middle_page)):
        for of, name in enumerate(("GET /model", "MLflow, runs/search")):
            series[f"{name}, {what} 100"] = [
                (step, CONNECTIONS * 1000 / median(pair[of])) for step, pair in pairs.items()
            ]
    title = f"A page of 100 experiments from MySQL, {CONNECTIONS} connections"
    yield Growth("peers_pages", title, "experiments", "milliseconds", series)


@cache
def measure(size: Size) -> Figures:
    """Measure everything once, which takes minutes."""
    figures = Figures()
    with (
        tempfile.TemporaryDirectory() as folder,
        mysql("bench_ours") as our_url,
        mysql("bench_mlflow", privilege="SUPER") as their_url,  # MLflow creates triggers
    ):
        starts = [partial(ours, our_url, folder), partial(theirs, their_url, folder)]
        seconds = [partial(start_seconds, start) for start in starts]
        in_turn(1, *seconds)  # migrates
        figures.start = in_turn(size.starts, *seconds)
        with starts[1]() as its:
            name = {"name": "bench"}
            where = ask(f"{its.url}api/2.0/mlflow/experiments/create", name)["experiment_id"]
            with starts[0]() as mine:
                figures.idle = [mine.idle, its.idle]
                for before, step in pairwise((0, *size.steps)):
                    listing.fill(make_url(our_url), before, step)
                    fill_theirs(their_url, where, before, step)
                    contest = partial(pages, mine, its, where, step, size)
                    figures.first_page[step] = contest(0)
                    figures.middle_page[step] = contest(step // 2)
            creates = partial(new_experiments, its, where, size)
            with ours(our_url, folder, "bench.peers.serve") as mine:
                what = "a row, a folder, and a process that trains nothing"
                figures.create[what] = creates(mine)
            if "KUBECONFIG" in os.environ:
                with namespace(), ours(our_url, folder, environment=KUBERNETES) as mine:
                    kubectl("create", "quota", "no-pods", "--hard=pods=0", "-n", NAMESPACE)
                    figures.create["a row, a folder, and a Job"] = creates(mine)
    return figures


def ours(
    url: str, folder: str, module: str = "backend", environment: Mapping[str, str] = LOCAL
) -> AbstractContextManager[Program]:
    """Run our server, web and reconciler."""
    address = free_address()
    places = dict.fromkeys(("DATA_DIR", "INPUT_DIR", "OUTPUT_DIR"), folder)
    command = [sys.executable, "-m", module, "serve"]
    where = {"DB_URL": url, "BIND": address, **places, **environment}
    return running(command, f"http://{address}/", "readyz", where)


def theirs(url: str, folder: str) -> AbstractContextManager[Program]:
    """Run MLflow's server, without telemetry."""
    host, _, port = free_address().rpartition(":")
    command = [str(BIN / "mlflow"), "server", "--backend-store-uri", url]
    command += ["--artifacts-destination", f"{folder}/artifacts", "--host", host, "--port", port]
    # By default, uvicorn kills workers that do not answer within 5 s, as on a busy machine.
    command += ["--uvicorn-opts", "--timeout-worker-healthcheck 60"]
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PATH": f"{BIN}:{os.environ['PATH']}",  # workers are started by name
    }
    return running(command, f"http://{host}:{port}/", "health", environment)


def start_seconds(start: Callable[[], AbstractContextManager[Program]]) -> float:
    """Start and stop a server; return the seconds to its first answer."""
    with start() as program:
        return program.start_seconds


def pages(mine: Program, its: Program, where: str, total: int, size: Size, offset: int) -> Pair:
    """Load the page of 100 that follows the newest `offset` experiments of `total`."""
    after, token = "", ""
    if offset:
        number = total - offset  # the last one of the previous page
        after = f"&after={quote(listing.after(number))}"
        token = base64.b64encode(json.dumps({"offset": offset}).encode()).decode()
    body = {"experiment_ids": [where], "max_results": 100, "page_token": token}
    our_page, its_page = f"{mine.url}model?limit=100{after}", f"{its.url}{SEARCH}"
    newest = f"run-{total - offset - 1}"
    check(newest, ask(our_page)[0]["experiment_id"])
    check(newest, ask(its_page, body)["runs"][0]["info"]["run_name"])
    loads = [
        partial(requests_per_second, our_page, size.seconds),
        partial(requests_per_second, its_page, size.seconds, body=json.dumps(body), may_fail=True),
    ]
    first = in_turn(1, *loads)
    if first[1][0] * size.seconds < CONNECTIONS:  # a round takes minutes, so one must do
        return first
    more = in_turn(size.rounds - 1, *loads)
    return [figures + others for figures, others in zip(first, more, strict=True)]


def new_experiments(its: Program, where: str, size: Size, mine: Program) -> Pair:
    """Load the creation of experiments, and of MLflow's runs."""
    its_run = json.dumps({"experiment_id": where, "run_name": "new-{n}"})
    return in_turn(
        size.rounds,
        partial(requests_per_second, f"{mine.url}test", size.seconds, body=OUR_FORM),
        partial(
            requests_per_second, f"{its.url}{CREATE}", size.seconds, body=its_run, may_fail=True
        ),
    )


def check(wanted: str, found: str) -> None:
    """Raise RuntimeError if the page does not begin with the wanted name."""
    if wanted != found:
        raise RuntimeError(f"the page begins with {found}, not {wanted}")


def fill_theirs(url: str, where: str, first: int, end: int) -> None:
    """Insert MLflow's runs, with the rows that its client would write."""
    numbers = (
        "WITH RECURSIVE number (n) AS"
        " (SELECT :first UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :end)"
    )
    uuid, at = "LPAD(HEX(n), 32, '0')", f"{int(BEGIN.timestamp())}000 + 1000 * n"
    run = (
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id,"
        " status, start_time, end_time, source_version, lifecycle_stage, artifact_uri,"
        f" experiment_id) {numbers} SELECT {uuid}, CONCAT('run-', n), 'LOCAL', '', '', 'user',"
        f" 'FINISHED', {at}, {at}, '', 'active',"
        f" CONCAT('mlflow-artifacts:/', :where, '/', {uuid}, '/artifacts'), :where FROM number"
    )
    of_a_run = f"{numbers} SELECT :key, :value, {uuid} FROM number"
    name = of_a_run.replace(":value", "CONCAT('run-', n)")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET SESSION cte_max_recursion_depth = {listing.BATCH}"))
        for begin in range(first, end, listing.BATCH):
            values = {"first": begin, "end": min(end, begin + listing.BATCH), "where": where}
            connection.execute(text(run), values)
            for key, value in (("learning_rate", "0.001"), ("epoch", "20")):
                statement = text(f"INSERT INTO params (`key`, value, run_uuid) {of_a_run}")
                connection.execute(statement, values | {"key": key, "value": value})
            statement = text(f"INSERT INTO tags (`key`, value, run_uuid) {name}")
            connection.execute(statement, values | {"key": "mlflow.runName"})
            connection.commit()
        connection.execute(text("ANALYZE TABLE runs, params, tags"))
