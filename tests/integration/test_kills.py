"""A web worker is killed at any step of a request: one run, one Job, one folder all the same."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, pairwise, takewhile
from pathlib import Path
from urllib.parse import quote

import pytest
from kubernetes.config import kube_config
from sqlalchemy import event

from backend import app as app_module
from backend.domain.status import LIVE, Status, path
from backend.experiments import reconciler as reconciler_module
from backend.experiments import run_file
from backend.experiments.reconciler import RECENT_CHANGES, Reconciler
from backend.settings import Settings
from tests.fakes.killable_process import launcher_of
from tests.fakes.kubernetes_api import Fault
from tests.integration.backend_process import ROOT
from tests.integration.conftest import MARIADB, MYSQL_CONTROL
from tests.integration.databases import Database
from tests.integration.launcher_harness import LocalHarness
from tests.integration.waiting import eventually

FORM = {"learning_rate": "0.001", "epoch": "20"}
# Where runs and rows are, and who comes first to what was left.
ONE_MACHINE = [("sqlite", "client"), ("sqlite", "reconciler"), ("local", "reconciler")]
SERVERS = [
    pytest.param("mariadb", "client", marks=pytest.mark.needs("mariadb")),
    pytest.param("mysql", "client", marks=pytest.mark.needs("mysql")),
]
everywhere = pytest.mark.parametrize(
    ("surroundings", "quicker"), ONE_MACHINE + SERVERS, indirect=["surroundings"]
)
# What changes the database by one statement alone is the same on every one.
on_one_machine = pytest.mark.parametrize(
    ("surroundings", "quicker"), ONE_MACHINE, indirect=["surroundings"]
)


@dataclass(frozen=True)
class Request:
    """What a client sends for a run, and what it may be answered when it repeats it."""

    method: str
    path: str
    answers: tuple[int, ...]
    form: dict = field(default_factory=dict)

    def of(self, name):
        """Give what the test client needs for a run of that name."""
        form = self.form | {"experiment_id": name} if self.form else None
        target = self.path.format(quote(name))
        return {"method": self.method, "path": target, "data": form}


SUBMIT = Request("POST", "/test", (200, 201), FORM)
CANCEL = Request("POST", "/experiments/{}/cancel", (200, 202))
RETRY = Request("POST", "/experiments/{}/retry", (202, 409))  # 409: it goes on already
DELETE = Request("DELETE", "/experiments/{}", (204, 404))
DELETE_ALL = Request("DELETE", "/experiments/{}?outputs=true", (204, 404))


class Cluster:
    """The fake API server as a place for runs."""

    launcher = "kubernetes"

    def __init__(self, kubernetes):
        self._api = kubernetes
        # Other tests validate Jobs against the schemas; here it would take most of the time.
        kubernetes.validates = False

    def live_jobs(self):
        """List (experiment_id, Job) of all that goes on."""
        return [
            (body["metadata"]["annotations"]["hello-flask/experiment-id"], name)
            for name, body in self._api.jobs().items()
            if not (body.get("status") or {}).get("conditions")
        ]

    def end(self, house, names):
        """Let runs fail."""
        for name in names:
            self._api.finish(self._api.run(house.get(name).job), 1)


class Machine:
    """This machine as a place for runs, its one slot taken: they wait."""

    launcher = "local"

    def __init__(self, harness):
        self._state = harness.state

    def live_jobs(self):
        """List (experiment_id, Job) of every runner."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (process / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            for state in (one for one in arguments if one.startswith(f"{self._state}/")):
                job = json.loads((Path(state) / "job.json").read_text())
                found.append((job["run"]["experiment_id"], job["handle"]))
        return found

    def end(self, house, names):
        """Let runs be cancelled: they wait, and cannot fail."""
        for name in names:
            house.client.open(**CANCEL.of(name))


class House:
    """What is left when a worker was killed: another worker, and a reconciler that starts again."""

    def __init__(self, environ, place):
        settings = Settings.from_environment(environ)
        app = app_module.create_app(settings, launcher_of(settings))
        self.client = app.test_client()
        self.output_dir, self._place = settings.output_dir, place
        self.services = app.extensions["services"]
        self.experiments = self.services.experiments
        self.experiments.check_ready()
        self._reconciler = Reconciler(self.services, 3600)

    def get(self, name):
        return self.services.store.get(name)

    def steps(self, name):
        return [step.to_status for step in self.experiments.history(self.get(name))]

    def submit(self, names):
        for name in names:
            assert self.client.open(**SUBMIT.of(name)).status_code == 201

    def ended(self, names):
        """Bring runs to an end that allows a retry."""
        self.submit(names)
        self._place.end(self, names)
        eventually(lambda: self.settle() or all(self.get(one).status not in LIVE for one in names))

    def settle(self):
        """Reconcile as a process that starts does; a lost run is adopted by the second pass."""
        self.services.archive.update_recent_run_files(RECENT_CHANGES)
        for _ in range(3):
            self._reconciler.reconcile()

    def settled(self, names):
        """Settle once nobody's end is waited for, and hold every run against what must be."""

        def there():
            return [self.get(name) for name in names]

        def over():
            self.settle()
            live = [one for one in there() if one and one.status in LIVE]
            return not any(one.cancel_requested_at for one in live)

        eventually(over)
        jobs = self._place.live_jobs()
        for name, experiment in zip(names, there(), strict=True):
            self._check(name, experiment, [job for of, job in jobs if of == name])

    def _check(self, name, experiment, jobs):
        """Nothing is started twice or done by half, and all who know the run say the same."""
        if experiment is None:
            assert jobs == [], name
            return
        assert experiment.status is not Status.SUBMITTING, name
        assert jobs == ([experiment.job] if experiment.status in LIVE else []), name
        history = self.experiments.history(experiment)
        last = history[-1]
        assert (last.to_status, last.attempt) == (experiment.status, experiment.attempt), name
        for old, new in pairwise(history):
            assert new.from_status == old.to_status, name
            retried = (new.attempt, new.to_status) == (old.attempt + 1, Status.SUBMITTING)
            assert retried or path(Status(old.to_status), Status(new.to_status)), name
        if (self.output_dir / name).exists():
            told = json.loads((self.output_dir / name / "run.json").read_text())
            assert told == run_file.render(experiment, history), name


class Killer:
    """Lets workers of their own process answer requests, and die on the way."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.killable_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill_at_each_step(self, environ, request, prepare, chosen):
        """Send it for one run after the other, to workers that die a step later each time.

        `chosen` chooses among the steps, of which it is given the name and the one before.

        Returns:
            The names of the runs; each says where its worker died.
        """
        prepare(["first", "undisturbed"])
        self._send(request.of("first"), environ=environ)
        undisturbed = self._send(request.of("undisturbed"))
        assert undisturbed["status"] in request.answers
        steps = ["", *undisturbed["steps"]]
        names = {
            f"{number} {steps[number]}": number
            for number in range(1, len(steps))
            if chosen(steps[number], steps[number - 1])
        }
        prepare(names)
        for name, number in names.items():
            assert self._send(request.of(name), fatal=number) == -signal.SIGKILL, name
        return list(names)

    def _send(self, request, environ=None, fatal=None):
        kubeconfig = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        order = {"request": request, "environ": environ, "kubeconfig": kubeconfig, "fatal": fatal}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@pytest.fixture(scope="session")
def killer():
    killer = Killer()
    yield killer
    killer.close()


def is_any(_step, _before):
    return True


def is_of_database(*steps):
    """Choose the steps at which one database may differ from another."""
    return any(one.startswith(("INSERT", "UPDATE", "DELETE", "commit")) for one in steps)


@pytest.fixture
def machine(environ):
    harness = LocalHarness(environ)
    yield Machine(harness)
    harness.close()


@pytest.fixture
def cluster(kubernetes):
    return Cluster(kubernetes)


@pytest.fixture
def surroundings(request, environ, tmp_path):
    """Give the variables, the place for runs, and which steps are to be tried."""
    place = request.getfixturevalue("machine" if request.param == "local" else "cluster")
    if request.param in ("sqlite", "local"):
        database, chosen = Database(f"sqlite:///{tmp_path}/experiments.sqlite3"), is_any
    else:
        database, chosen = request.getfixturevalue(request.param).database, is_of_database
    return environ | {"LAUNCHER": place.launcher, "DB_URL": database.url}, place, chosen


@pytest.fixture
def house(surroundings, monkeypatch):
    monkeypatch.setattr(reconciler_module, "SUBMIT_GRACE", timedelta(-1))
    house = House(*surroundings[:2])
    yield house
    house.services.store.close()


@pytest.fixture
def kill(surroundings, house, killer, quicker):
    """Kill workers at each step. What they leave is sound; what the client then gets is, too."""

    def kill(asked, prepare=lambda names: None):
        environ, _, chosen = surroundings
        names = killer.kill_at_each_step(environ, asked, prepare, chosen)
        if quicker == "reconciler":
            house.settled(names)
        for name in names:
            assert house.client.open(**asked.of(name)).status_code in asked.answers, name
        house.settled(names)
        return names

    return kill


@everywhere
def test_a_submission_whose_worker_is_killed(house, kill):
    for name in kill(SUBMIT):
        assert house.steps(name) == ["submitting", "queued"]
        answer = house.client.open(**SUBMIT.of(name))
        assert (answer.status_code, answer.json["job"]) == (200, house.get(name).job)


@on_one_machine
def test_a_cancellation_whose_worker_is_killed(house, kill):
    for name in kill(CANCEL, house.submit):
        assert house.steps(name) == ["submitting", "queued", "cancelled"]
        assert house.client.open(**CANCEL.of(name)).status_code == 200


@everywhere
def test_a_retry_whose_worker_is_killed(house, kill):
    for name in kill(RETRY, house.ended):
        assert (house.get(name).status, house.get(name).attempt) == ("queued", 2)
        assert house.steps(name)[-2:] == ["submitting", "queued"]


@on_one_machine
def test_a_deletion_whose_worker_is_killed(house, kill):
    for name in kill(DELETE, house.ended):
        assert house.get(name) is None
        assert (house.output_dir / name / "forgotten.json").exists()


@on_one_machine
def test_a_deletion_with_the_folder_whose_worker_is_killed(house, kill):
    for name in kill(DELETE_ALL, house.ended):
        assert house.get(name) is None
        assert not (house.output_dir / name).exists()


@pytest.mark.parametrize("surroundings", [MARIADB, MYSQL_CONTROL], indirect=True)
def test_a_submission_during_which_the_database_is_restarted(house, request, surroundings):
    kind = request.node.callspec.params["surroundings"]
    server = request.getfixturevalue(f"{kind}_server")
    engine, names = house.services.store.database.engine, []

    def restarted_before(number):
        """Submit, and restart the server just before a change of that number; False: too few."""
        left = count(number, -1)

        def disturb(connection, *_):
            reading = connection.get_execution_options().get("reading")
            if not reading and next(left) == 1:
                names.append(name)
                server.restart()

        name = f"restarted before change {number}"
        for moment in ("before_cursor_execute", "commit"):
            event.listen(engine, moment, disturb)
        try:
            status = house.client.open(**SUBMIT.of(name)).status_code
        finally:
            for moment in ("before_cursor_execute", "commit"):
                event.remove(engine, moment, disturb)
        assert status in (201, 202, 503), name
        return names[-1:] == [name]

    assert sum(takewhile(bool, map(restarted_before, count(1)))) >= 6

    for name in names:
        assert house.client.open(**SUBMIT.of(name)).status_code in SUBMIT.answers, name
    house.settled(names)
    for name in names:
        assert house.steps(name) == ["submitting", "queued"], name


@pytest.mark.parametrize("surroundings", ["sqlite"], indirect=True)
@pytest.mark.parametrize("fault", [Fault(stored=True), Fault(stored=True, hang=True)])
@pytest.mark.parametrize(
    ("asked", "verb", "steps"),
    [
        (CANCEL, "delete", ["submitting", "queued", "cancelled"]),
        (RETRY, "create", ["submitting", "queued", "failed", "submitting", "queued"]),
        (DELETE, "delete", None),
        (DELETE_ALL, "delete", None),
    ],
)
def test_an_answer_of_the_api_server_that_is_lost(house, failing, asked, verb, steps, fault):
    house.submit(["a"]) if asked is CANCEL else house.ended(["a"])

    # A deletion removes nothing as long as it does not know that the Job is gone.
    with failing(verb, "jobs", fault):
        assert house.client.open(**asked.of("a")).status_code in (202, 503)
    house.settled(["a"])
    assert house.client.open(**asked.of("a")).status_code in asked.answers
    house.settled(["a"])

    assert (house.steps("a") if steps else house.get("a")) == steps
