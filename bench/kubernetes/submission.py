"""`POST /test` on a real cluster and MySQL, compared with one INSERT and one create of the Job.

Needs KUBECONFIG and LAB. Both create Jobs in namespaces of their own with a quota of no pods, so
that only submissions are measured, and not what Jobs cost afterwards. Both are deleted at the end.
"""

import itertools
import json
import os
import signal
import ssl
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from typing import Any, Protocol

import pymysql
import urllib3
from kubernetes import client, config
from sqlalchemy import URL, make_url

from backend.domain.attempt import Attempt
from backend.domain.experiment import Parameters, new_values
from backend.launchers.kubernetes import manifest as job_manifest
from backend.settings import Settings
from backend.store import schema
from backend.store.tables import experiment
from bench.databases import mysql
from bench.figures import Growth, Row
from bench.kubernetes.reconcile import kubectl
from bench.server import servers, serving, with_children

OURS, BARE = "hello-flask-bench-ours", "hello-flask-bench-bare"
DATABASE, BARE_TABLE = "hello_flask_bench_submission", "bare"
CLIENTS = 8
WARM_UP = 40
MOST_CLIENTS = 32
POINTS = 10  # in the plot by existing Jobs
TIMEOUT = 60


@dataclass(frozen=True)
class Size:
    """The size of a measurement.

    Attributes:
        rounds: Number of alternating rounds.
        each: Submissions in a round.
        sustained: Submissions without a pause; 0: use the last round.
        clients: Numbers of concurrent clients in the plot.
    """

    rounds: int
    each: int
    sustained: int
    clients: tuple[int, ...]


WHOLE, QUICK = Size(7, 160, 2000, (1, 2, 4, 8, 16, 32)), Size(1, 80, 0, ())


Pair = tuple["Load", "Load"]  # ours, and the bare submission


@dataclass(frozen=True)
class Figures:
    """The results.

    Attributes:
        rounds: Alternating rounds with CLIENTS clients.
        sustained: Submissions without a pause.
        by_clients: Rounds by the number of concurrent clients.
    """

    size: Size
    rounds: list[Pair]
    sustained: Pair
    by_clients: dict[int, Pair]


class Client(Protocol):
    """A client that submits experiments one after the other."""

    def submit(self, number: int) -> None:
        """Submit the experiment of that number."""

    def close(self) -> None:
        """Close the connection."""


Connect = Callable[[], Client]


@dataclass(frozen=True)
class Load:
    """The result of a load.

    Attributes:
        latencies: Seconds that each submission took.
        ends: Seconds from the start of the load to the end of each submission, ascending.
    """

    latencies: list[float]
    ends: list[float]

    @property
    def median(self) -> float:
        """The median latency, in seconds."""
        return statistics.median(self.latencies)

    @property
    def rate(self) -> float:
        """Submissions per second."""
        return len(self.ends) / self.ends[-1]

    def rates(self, points: int) -> list[tuple[float, float]]:
        """Return the rate in each part of the load, by the submissions before its middle."""
        size = len(self.ends) // points
        edges = [0.0, *self.ends[size - 1 :: size]]
        return [
            ((part + 0.5) * size, size / (after - before))
            for part, (before, after) in enumerate(itertools.pairwise(edges))
        ]


class OurClient:
    """A client of our server at `url`, over one connection."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=TIMEOUT)
        self._connection.connect()

    def submit(self, number: int) -> None:
        """Send the form."""
        form = {"experiment_id": str(number), "learning_rate": "0.001", "epoch": "1"}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", "/test", urllib.parse.urlencode(form), kind)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {text.decode()}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class BareClient:
    """The minimal submission, over one connection to the database and one to the API server."""

    def __init__(self, url: URL, pool: urllib3.HTTPSConnectionPool, settings: Settings) -> None:
        self._pool, self._settings = pool, settings
        self._path = f"/apis/batch/v1/namespaces/{settings.job_namespace}/jobs"
        self._database = connect_to(url)

    def submit(self, number: int) -> None:
        """Insert the row, and create the Job."""
        values = new_values(str(number), Parameters("autoencoder", 0.001, 1, None))
        body = json.dumps(job_manifest.render(Attempt.from_columns(values), self._settings))
        with self._database.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {BARE_TABLE} ({', '.join(values)}) "
                f"VALUES ({', '.join(f'%({name})s' for name in values)})",
                values,
            )
        kind = {"Content-Type": "application/json"}
        answer = self._pool.request("POST", self._path, body=body, headers=kind)
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {answer.data.decode()}")

    def close(self) -> None:
        """Close the connection to the database."""
        self._database.close()


def load(connect: Connect, numbers: Sequence[int], clients: int) -> Load:
    """Submit an experiment for each number, by concurrent clients."""
    left = iter(numbers)
    took: list[tuple[float, float]] = []
    errors: list[Exception] = []
    ready = threading.Barrier(clients + 1)

    def work() -> None:
        submitter = connect()
        ready.wait()
        try:
            for number in left:  # shared: each client takes the next number
                before = time.perf_counter()
                submitter.submit(number)
                took.append((time.perf_counter(), before))
        except Exception as error:
            errors.append(error)
        finally:
            submitter.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Load([end - before for end, before in took], sorted(end - begin for end, _ in took))


class Contest:
    """Both contenders, and the numbers of the experiments to be submitted."""

    def __init__(self, folder: str, url: URL) -> None:
        """Serve ours from `folder`, with the database at `url`."""
        self._folder, self._url = folder, url
        self._numbers = itertools.count()

    @contextmanager
    def ours(self) -> Iterator[Connect]:
        """Run our server during the block."""
        environment = {
            "LAUNCHER": "kubernetes",
            "AE_MODEL_IMAGE_URL": "autoencoder",
            "JOB_NAMESPACE": OURS,
            "DB_URL": self._url.render_as_string(hide_password=False),
        }
        serve = [sys.executable, "-m", "backend", "serve"]
        with serving(serve, self._folder, environment) as (url, _):
            yield lambda: OurClient(url)

    @contextmanager
    def bare(self) -> Iterator[Connect]:
        """Provide the connections of the bare submission during the block."""
        settings = Settings.from_environment(
            {
                "LAUNCHER": "kubernetes",
                "AE_MODEL_IMAGE_URL": "autoencoder",
                "JOB_NAMESPACE": BARE,
                "OUTPUT_DIR": self._folder,
            }
        )
        api = client.Configuration()
        config.load_kube_config(client_configuration=api)
        address = urllib.parse.urlsplit(api.host)
        token = api.get_api_key_with_prefix("BearerToken")
        with urllib3.HTTPSConnectionPool(
            address.hostname or "",
            address.port,
            maxsize=MOST_CLIENTS,
            ca_certs=api.ssl_ca_cert,
            cert_file=api.cert_file,
            key_file=api.key_file,
            cert_reqs=ssl.CERT_REQUIRED,
            retries=False,
            headers={"Authorization": token} if token else None,
        ) as pool:
            yield lambda: BareClient(self._url, pool, settings)

    def load(self, connect: Connect, number: int, clients: int = CLIENTS) -> Load:
        """Submit that many new experiments."""
        return load(connect, list(itertools.islice(self._numbers, number)), clients)


def connect_to(url: URL) -> "pymysql.Connection[Any]":
    """Open a connection to MySQL in autocommit mode."""
    options = url.translate_connect_args(username="user")
    return pymysql.connect(**options, autocommit=True)


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """Provide an empty namespace without pods during the block."""
    kubectl("delete", "namespace", name, "--ignore-not-found")
    kubectl("create", "namespace", name)
    try:
        kubectl("create", "quota", "no-pods", "--hard=pods=0", "--namespace", name)
        yield
    finally:
        kubectl("delete", "namespace", name, "--wait=false")  # and its Jobs


@contextmanager
def surroundings() -> Iterator[Contest]:
    """Provide empty namespaces without pods, and an empty database, during the block."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = make_url(stack.enter_context(mysql(DATABASE)))
        for name in (OURS, BARE):
            stack.enter_context(namespace(name))
        schema.migrate(url)
        with closing(connect_to(url)) as connection:
            connection.cursor().execute(f"CREATE TABLE {BARE_TABLE} LIKE {experiment.name}")
        yield Contest(folder, url)


@contextmanager
def stopped() -> Iterator[None]:
    """Stop all our processes during the block, so that they take no CPU from the other."""
    pids = with_children(servers())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@cache
def measure(size: Size) -> Figures:
    """Measure everything once, which takes minutes."""
    config.load_kube_config()
    sustained = alone(size.sustained) if size.sustained else None
    with surroundings() as contest, contest.ours() as ours, contest.bare() as bare:

        def in_turn(number: int, clients: int = CLIENTS) -> Pair:
            mine = contest.load(ours, number, clients)
            with stopped():
                return mine, contest.load(bare, number, clients)

        in_turn(WARM_UP)
        rounds = [in_turn(size.each) for _ in range(size.rounds)]
        by_clients = {clients: in_turn(size.each, clients) for clients in size.clients}
    return Figures(size, rounds, sustained or rounds[-1], by_clients)


def alone(number: int) -> Pair:
    """Measure sustained submissions, of one contender after the other."""
    with surroundings() as contest, contest.bare() as bare:
        its = contest.load(bare, number)
        with contest.ours() as ours:
            contest.load(ours, WARM_UP)
            return contest.load(ours, number), its


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurements."""
    figures = measure(QUICK if quick else WHOLE)
    ours, bare = zip(*figures.rounds, strict=True)
    ratio = statistics.median(mine.median / its.median for mine, its in figures.rounds)
    yield Row(
        f"`POST /test` on Kubernetes and MySQL, {CLIENTS} clients, median",
        f"{1000 * statistics.median(load.median for load in ours):.1f} ms",
        f"{1000 * statistics.median(load.median for load in bare):.1f} ms, "
        "one INSERT and one create",
        ratio,
        "<= 1.5",
        ratio <= 1.5,
    )
    mine, its = figures.sustained
    ratio = mine.rate / its.rate
    yield Row(
        f"submissions per second, {len(mine.ends):,} without a pause",
        f"{mine.rate:.0f}/s",
        f"{its.rate:.0f}/s, one INSERT and one create",
        ratio,
        ">= 100/s, or >= 0.7",
        mine.rate >= 100 or ratio >= 0.7,
    )


def growths() -> Iterator[Growth]:
    """Yield the plots, from the same measurement."""
    figures = measure(WHOLE)
    names = ("POST /test", "one INSERT and one create")
    clients = figures.by_clients
    yield Growth(
        "submission_clients",
        "Submissions on Kubernetes and MySQL by clients",
        "clients",
        "submissions per second",
        {
            name: [(number, pair[of].rate) for number, pair in clients.items()]
            for of, name in enumerate(names)
        },
    )
    yield Growth(
        "submission_jobs",
        f"Submissions on Kubernetes and MySQL by existing Jobs, {CLIENTS} clients",
        "Jobs",
        "submissions per second",
        {name: load.rates(POINTS) for name, load in zip(names, figures.sustained, strict=True)},
    )


def how() -> str:
    """Return how submissions are measured."""
    return (
        f"{WHOLE.rounds} alternating rounds of {WHOLE.each} submissions, {CLIENTS} clients with "
        "keep-alive connections; ours includes its reconciler, and is stopped during the other's "
        "rounds."
    )
