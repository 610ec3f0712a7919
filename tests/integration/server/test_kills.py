"""A web worker is killed at any step of a request, and still there is one Job and one folder."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, pairwise, takewhile
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
from tests.integration.launcher_harness import LocalHarness, processes_of
from tests.integration.waiting import eventually

FORM = {"learning_rate": "0.001", "epoch": "20"}
# Where Jobs and rows are, and who first finds what a killed worker has left.
ONE_MACHINE = [("sqlite", "client"), ("sqlite", "reconciler"), ("local", "reconciler")]
SERVERS = [
    pytest.param("mariadb", "client", marks=pytest.mark.needs("mariadb")),
    pytest.param("mysql", "client", marks=pytest.mark.needs("mysql")),
]
everywhere = pytest.mark.parametrize(
    ("surroundings", "first_to_act"), ONE_MACHINE + SERVERS, indirect=["surroundings"]
)
# One statement alone leaves the same on every database.
on_one_machine = pytest.mark.parametrize(
    ("surroundings", "first_to_act"), ONE_MACHINE, indirect=["surroundings"]
)


@dataclass(frozen=True)
class Request:
    """A request for an experiment, and the statuses that its repetition may get."""

    method: str
    path: str
    answers: tuple[int, ...]
    form: dict = field(default_factory=dict)

    def of(self, name):
        """Return the arguments of the test client for an experiment of that name."""
        form = self.form | {"experiment_id": name} if self.form else None
        target = self.path.format(quote(name))
        return {"method": self.method, "path": target, "data": form}


SUBMIT = Request("POST", "/test", (200, 201), FORM)
CANCEL = Request("POST", "/experiments/{}/cancel", (200, 202))
RETRY = Request("POST", "/experiments/{}/retry", (202, 409))  # 409: it is live already
DELETE = Request("DELETE", "/experiments/{}", (204, 404))
DELETE_ALL = Request("DELETE", "/experiments/{}?outputs=true", (204, 404))


class Cluster:
    """The fake API server, where Jobs run."""

    launcher = "kubernetes"

    def __init__(self, kubernetes):
        self._api = kubernetes
        # Other tests validate Jobs against the schemas; here it would take most of the time.
        kubernetes.validates = False

    def live_jobs(self):
        """Return (experiment_id, Job) of every live Job."""
        return [
            (body["metadata"]["annotations"]["hello-flask/experiment-id"], name)
            for name, body in self._api.jobs().items()
            if not (body.get("status") or {}).get("conditions")
        ]

    def end(self, survivors, names):
        """Make Jobs fail."""
        for name in names:
            self._api.finish(self._api.run(survivors.get(name).job), 1)


class Machine:
    """This machine, whose only slot is taken: Jobs wait."""

    launcher = "local"

    def __init__(self, harness):
        self._state = harness.state

    def live_jobs(self):
        """Return (experiment_id, Job) of every entry of the queue that has not been cancelled."""
        assert processes_of(self._state) == []
        found = []
        for entry in sorted((self._state / "queue").glob("*")):
            state = self._state / entry.name.partition("-")[2]
            if (state / "job.json").exists() and not (state / "exit.json").exists():
                job = json.loads((state / "job.json").read_text())
                found.append((job["run"]["experiment_id"], job["handle"]))
        return found

    def end(self, survivors, names):
        """Cancel experiments, which wait and cannot fail."""
        for name in names:
            survivors.client.open(**CANCEL.of(name))


class Survivors:
    """What survives a killed worker: another worker, and a reconciler that starts again."""

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
        """Bring experiments to an end that allows a retry."""
        self.submit(names)
        self._place.end(self, names)
        eventually(lambda: self.settle() or all(self.get(one).status not in LIVE for one in names))

    def settle(self):
        """Reconcile as a process that starts; a lost attempt is adopted by the second pass."""
        self.services.archive.update_recent_run_files(RECENT_CHANGES)
        for _ in range(3):
            self._reconciler.reconcile()

    def settled(self, names):
        """Settle until no cancellation is pending, then check every experiment."""

        def experiments():
            return [self.get(name) for name in names]

        def over():
            self.settle()
            live = [one for one in experiments() if one and one.status in LIVE]
            return not any(one.cancel_requested_at for one in live)

        eventually(over)
        jobs = self._place.live_jobs()
        for name, experiment in zip(names, experiments(), strict=True):
            self._check(name, experiment, [job for of, job in jobs if of == name])

    def _check(self, name, experiment, jobs):
        """Check that nothing was done twice or by half, and that all records agree."""
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
            assert told.pop("entry")["name"] == experiment.model, name
            assert told == run_file.render(experiment, history), name


class Killer:
    """Lets workers, each in a process of its own, answer requests and die on the way."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.killable_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill_at_each_step(self, environ, request, prepare, chosen):
        """Send a request for one experiment after another, to workers that die one step later.

        `chosen` gets the name of a step and of the step before, and returns whether to die there.

        Returns:
            The names of the experiments, each after the step at which its worker died.
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
    """Return whether databases may differ at one of these steps."""
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
    """The variables, the platform of the Jobs, and the choice of steps."""
    place = request.getfixturevalue("machine" if request.param == "local" else "cluster")
    if request.param in ("sqlite", "local"):
        database, chosen = Database(f"sqlite:///{tmp_path}/experiments.sqlite3"), is_any
    else:
        database, chosen = request.getfixturevalue(request.param).database, is_of_database
    return environ | {"LAUNCHER": place.launcher, "DB_URL": database.url}, place, chosen


@pytest.fixture
def survivors(surroundings, monkeypatch):
    monkeypatch.setattr(reconciler_module, "SUBMIT_GRACE", timedelta(-1))
    survivors = Survivors(*surroundings[:2])
    yield survivors
    survivors.services.store.close()


@pytest.fixture
def kill(surroundings, survivors, killer, first_to_act):
    """Kill workers at each step, then check what they leave and what a repetition gets."""

    def kill(asked, prepare=lambda names: None):
        environ, _, chosen = surroundings
        names = killer.kill_at_each_step(environ, asked, prepare, chosen)
        if first_to_act == "reconciler":
            survivors.settled(names)
        for name in names:
            assert survivors.client.open(**asked.of(name)).status_code in asked.answers, name
        survivors.settled(names)
        return names

    return kill


@everywhere
def test_submit_is_killed(survivors, kill):
    for name in kill(SUBMIT):
        assert survivors.steps(name) == ["submitting", "queued"]
        answer = survivors.client.open(**SUBMIT.of(name))
        assert (answer.status_code, answer.json["job"]) == (200, survivors.get(name).job)


@on_one_machine
def test_cancel_is_killed(survivors, kill):
    for name in kill(CANCEL, survivors.submit):
        assert survivors.steps(name) == ["submitting", "queued", "cancelled"]
        assert survivors.client.open(**CANCEL.of(name)).status_code == 200


@everywhere
def test_retry_is_killed(survivors, kill):
    for name in kill(RETRY, survivors.ended):
        assert (survivors.get(name).status, survivors.get(name).attempt) == ("queued", 2)
        assert survivors.steps(name)[-2:] == ["submitting", "queued"]


@on_one_machine
def test_delete_is_killed(survivors, kill):
    for name in kill(DELETE, survivors.ended):
        assert survivors.get(name) is None
        assert (survivors.output_dir / name / "forgotten.json").exists()


@on_one_machine
def test_delete_with_outputs_is_killed(survivors, kill):
    for name in kill(DELETE_ALL, survivors.ended):
        assert survivors.get(name) is None
        assert not (survivors.output_dir / name).exists()


@pytest.mark.parametrize("surroundings", ["sqlite", "local"], indirect=True)
def test_reconciler_finishes_killed_deletion(survivors, surroundings, killer):
    """After a kill at any step it is gone with its folder, or untouched and can be retried."""

    def prepare(names):
        survivors.ended(names)
        for name in names:
            (survivors.output_dir / name / "checkpoint.pt").write_text("weights")

    names = killer.kill_at_each_step(surroundings[0], DELETE_ALL, prepare, is_any)
    survivors.services.experiments.remove_deleted_folders()
    survivors.settled(names)

    deleted = [name for name in names if survivors.get(name) is None]
    assert 4 <= len(deleted) < len(names)
    for name in names:
        folder = survivors.output_dir / name
        assert folder.exists() == (name not in deleted), name
        if name not in deleted:
            assert (folder / "checkpoint.pt").read_text() == "weights"
            assert survivors.client.open(**RETRY.of(name)).status_code == 202, name
    assert not list(survivors.output_dir.glob(".deleted-*"))


@pytest.mark.parametrize("surroundings", ["sqlite", "local"], indirect=True)
def test_reconciler_finishes_killed_deletion_of_a_record(survivors, surroundings, killer):
    """After a kill at any step its folder is marked and its row gone, or neither."""
    names = killer.kill_at_each_step(surroundings[0], DELETE, survivors.ended, is_any)
    marked = {name for name in names if (survivors.output_dir / name / "forgotten.json").exists()}
    beside_a_row = {name for name in marked if survivors.get(name)}
    assert beside_a_row  # what the reconciler has to mend
    survivors.settled(names)

    deleted = {name for name in names if survivors.get(name) is None}
    assert marked <= deleted < set(names)
    for name in names:
        mark = survivors.output_dir / name / "forgotten.json"
        assert mark.exists() == (name in deleted), name
        if name not in deleted:
            assert survivors.client.open(**RETRY.of(name)).status_code == 202, name
    assert not list(survivors.output_dir.glob(".deleting-*"))


@pytest.mark.parametrize("surroundings", ["sqlite"], indirect=True)
def test_retry_ends_killed_deletion_of_a_record(survivors, surroundings, killer):
    """An experiment that was retried before the reconciler came is not deleted."""
    names = killer.kill_at_each_step(surroundings[0], DELETE, survivors.ended, is_any)
    kept = [name for name in names if survivors.get(name)]
    for name in kept:
        assert survivors.client.open(**RETRY.of(name)).status_code == 202
    survivors.settled(names)

    for name in kept:
        assert survivors.get(name).attempt == 2
        assert not (survivors.output_dir / name / "forgotten.json").exists(), name
    assert not list(survivors.output_dir.glob(".deleting-*"))


@pytest.mark.parametrize("surroundings", [MARIADB, MYSQL_CONTROL], indirect=True)
def test_database_restarts_during_submit(survivors, request, surroundings):
    kind = request.node.callspec.params["surroundings"]
    server = request.getfixturevalue(f"{kind}_server")
    engine, names = survivors.services.store.database.engine, []

    def restarted_before(number):
        """Submit, restart the server before change `number`; return whether there was one."""
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
            status = survivors.client.open(**SUBMIT.of(name)).status_code
        finally:
            for moment in ("before_cursor_execute", "commit"):
                event.remove(engine, moment, disturb)
        assert status in (201, 202, 503), name
        return names[-1:] == [name]

    assert sum(takewhile(bool, map(restarted_before, count(1)))) >= 6

    for name in names:
        assert survivors.client.open(**SUBMIT.of(name)).status_code in SUBMIT.answers, name
    survivors.settled(names)
    for name in names:
        assert survivors.steps(name) == ["submitting", "queued"], name


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
def test_lost_answer_of_the_api_server(survivors, failing, asked, verb, steps, fault):
    survivors.submit(["a"]) if asked is CANCEL else survivors.ended(["a"])

    # A deletion removes nothing as long as it does not know that the Job is gone.
    with failing(verb, "jobs", fault):
        assert survivors.client.open(**asked.of("a")).status_code in (202, 503)
    survivors.settled(["a"])
    assert survivors.client.open(**asked.of("a")).status_code in asked.answers
    survivors.settled(["a"])

    assert (survivors.steps("a") if steps else survivors.get("a")) == steps
