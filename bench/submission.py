"""`POST /test` on a real cluster and MySQL, against one INSERT and one bare create of its Job.

With KUBECONFIG and LAB. The Jobs of both lie in namespaces of their own, where a quota lets no pod
be made: what a Job costs once it is there is not measured. All is removed afterwards.
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
from bench.reconcile import kubectl
from bench.server import servers, serving, with_children

OURS, BARE = "hello-flask-bench-ours", "hello-flask-bench-bare"
DATABASE, BARE_TABLE = "hello_flask_bench_submission", "bare"
CLIENTS = 8
WARM_UP = 40
MOST_CLIENTS = 32
POINTS = 10  # of the plot of the Jobs that are there
TIMEOUT = 60


@dataclass(frozen=True)
class Size:
    """How much to measure with.

    Attributes:
        rounds: In turn.
        each: Submissions of one round.
        sustained: Submissions without a pause; the last round's if it is 0.
        clients: At once, of each point of the plot.
    """

    rounds: int
    each: int
    sustained: int
    clients: tuple[int, ...]


WHOLE, QUICK = Size(7, 160, 2000, (1, 2, 4, 8, 16, 32)), Size(1, 80, 0, ())


Pair = tuple["Load", "Load"]  # ours, and the bare one


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        rounds: One in turn with the other, CLIENTS at once.
        sustained: Without a pause.
        by_clients: By the number of clients at once.
    """

    size: Size
    rounds: list[Pair]
    sustained: Pair
    by_clients: dict[int, Pair]


class Client(Protocol):
    """Submits runs, one after the other."""

    def submit(self, number: int) -> None:
        """Submit the run of that number."""

    def close(self) -> None:
        """Close the connection."""


Connect = Callable[[], Client]


@dataclass(frozen=True)
class Load:
    """How it went.

    Attributes:
        latencies: The seconds that each submission took.
        ends: The seconds from the beginning to each one's end, ascending.
    """

    latencies: list[float]
    ends: list[float]

    @property
    def median(self) -> float:
        """How long half of the submissions took at most, in seconds."""
        return statistics.median(self.latencies)

    @property
    def rate(self) -> float:
        """How many there were a second."""
        return len(self.ends) / self.ends[-1]

    def rates(self, points: int) -> list[tuple[float, float]]:
        """Give the rate of each part of the whole, by how many there were before its middle."""
        size = len(self.ends) // points
        edges = [0.0, *self.ends[size - 1 :: size]]
        return [
            ((part + 0.5) * size, size / (after - before))
            for part, (before, after) in enumerate(itertools.pairwise(edges))
        ]


class OurClient:
    """A client of the server at `url`, over one connection."""

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
    """What there is to do at the least, over one connection to each of the two."""

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
    """Submit a run for each of the numbers, by so many clients at once."""
    left = iter(numbers)
    took: list[tuple[float, float]] = []
    errors: list[Exception] = []
    ready = threading.Barrier(clients + 1)

    def work() -> None:
        one = connect()
        ready.wait()
        try:
            for number in left:  # one iterator for all: each takes the next
                before = time.perf_counter()
                one.submit(number)
                took.append((time.perf_counter(), before))
        except Exception as error:
            errors.append(error)
        finally:
            one.close()

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
    """Both contenders, and the numbers of runs that were not submitted yet."""

    def __init__(self, folder: str, url: URL) -> None:
        """Let ours serve from `folder`, with the database at `url`."""
        self._folder, self._url = folder, url
        self._numbers = itertools.count()

    @contextmanager
    def ours(self) -> Iterator[Connect]:
        """Let our server run for as long as the block takes."""
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
        """Let the bare program connect for as long as the block takes."""
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
        """Submit that many new runs."""
        return load(connect, list(itertools.islice(self._numbers, number)), clients)


def connect_to(url: URL) -> "pymysql.Connection[Any]":
    """Open a connection to MySQL; each statement is committed by itself."""
    options = url.translate_connect_args(username="user")
    return pymysql.connect(**options, autocommit=True)


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """Have an empty namespace in which no pod is made, until the end of the block."""
    kubectl("delete", "namespace", name, "--ignore-not-found")
    kubectl("create", "namespace", name)
    try:
        kubectl("create", "quota", "no-pods", "--hard=pods=0", "--namespace", name)
        yield
    finally:
        kubectl("delete", "namespace", name, "--wait=false")  # and its Jobs


@contextmanager
def surroundings() -> Iterator[Contest]:
    """Have empty namespaces without pods, and an empty database, for as long as the block takes."""
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
    """Let all processes of ours stand still, so that they take no cpu from the other one."""
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
    """Measure everything once; takes minutes."""
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
    """Let one after the other submit so many without a pause."""
    with surroundings() as contest, contest.bare() as bare:
        its = contest.load(bare, number)
        with contest.ours() as ours:
            contest.load(ours, WARM_UP)
            return contest.load(ours, number), its


def rows(quick: bool) -> Iterator[Row]:
    """Give the lines of the table of measurements."""
    figures = measure(QUICK if quick else WHOLE)
    ours, bare = zip(*figures.rounds, strict=True)
    ratio = statistics.median(mine.median / its.median for mine, its in figures.rounds)
    yield Row(
        f"`POST /test` on Kubernetes and MySQL, {CLIENTS} clients, median",
        f"{1000 * statistics.median(one.median for one in ours):.1f} ms",
        f"{1000 * statistics.median(one.median for one in bare):.1f} ms, one INSERT and one create",
        ratio,
        "<= 1.5",
        ratio <= 1.5,
    )
    mine, its = figures.sustained
    ratio = mine.rate / its.rate
    yield Row(
        f"submissions a second, {len(mine.ends):,} without a pause",
        f"{mine.rate:.0f}/s",
        f"{its.rate:.0f}/s, one INSERT and one create",
        ratio,
        ">= 100/s, or >= 0.7",
        mine.rate >= 100 or ratio >= 0.7,
    )


def growths() -> Iterator[Growth]:
    """Give the plots."""
    figures = measure(WHOLE)
    names = ("POST /test", "one INSERT and one create")
    clients = figures.by_clients
    yield Growth(
        "submission_clients",
        "Submissions on Kubernetes and MySQL by clients",
        "clients",
        "submissions a second",
        {
            name: [(number, pair[of].rate) for number, pair in clients.items()]
            for of, name in enumerate(names)
        },
    )
    yield Growth(
        "submission_jobs",
        f"Submissions on Kubernetes and MySQL by Jobs that are there, {CLIENTS} clients",
        "Jobs",
        "submissions a second",
        {name: one.rates(POINTS) for name, one in zip(names, figures.sustained, strict=True)},
    )


def how() -> str:
    """Say how it is measured."""
    return (
        f"{WHOLE.rounds} rounds of {WHOLE.each} submissions by each in turn, {CLIENTS} clients "
        "over keep-alive; ours with its reconciler, and stopped while the other one works."
    )
