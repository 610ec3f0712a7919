"""Experiments and reconcilers in every interleaving that hypothesis finds.

Each request and each pass of a reconciler is an operation that pauses before every call of the
database, the launcher and the output folder. In between, other operations proceed, Jobs start, end
and vanish, calls fail with or without effect, and processes die. Afterwards, without faults, there
is one experiment with at most one Job, one folder, and a legal history that agrees with what the
trainers did.

MODEL_EXAMPLES sets the number of examples, which then differ each time, and failures are shrunk.
By default, the same 40 examples run each time.
"""

import errno
import itertools
import json
import os
import shutil
import sqlite3
from collections import defaultdict
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import make_url

from backend.domain.attempt import Diagnosis
from backend.domain.exceptions import (
    FolderTaken,
    OtherParameters,
    OutputUnwritable,
    StoreUnavailable,
    SubmissionRefused,
    UnknownExperiment,
    WrongStatus,
)
from backend.domain.experiment import Parameters
from backend.domain.status import LIVE, REQUEUED, Status, path
from backend.experiments import reconciler as reconciler_module
from backend.experiments.reconciler import Reconciler
from backend.experiments.services import assemble
from backend.files.inputs import Inputs
from backend.files.outputs import Outputs
from backend.launchers.base import LauncherUnavailable
from backend.store.queries import Store
from tests.fakes.simulated_cluster import GOING_ON, SimulatedCluster
from tests.fakes.stepping import Operation, Stepping, Verdict

IS_LONG = "MODEL_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "40"))
IDS = ("a", "a", "a", "b")  # most failures need only one experiment
PARAMETERS = (Parameters("autoencoder", 0.001, 20, None), Parameters("autoencoder", 0.1, 20, None))
MAX_OPERATIONS = 4  # at once
READS = (
    "is_free",
    "has_summary",
    "folder",
    "read_run_file",
    "has_tombstone",
    "has_traces",
    "has_log",
    "set_aside",  # while the database is locked
)
UNREACHABLE = LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))
OUTAGES = (StoreUnavailable, LauncherUnavailable)
ANSWERS = (
    *OUTAGES,
    FolderTaken,
    OtherParameters,
    OutputUnwritable,
    SubmissionRefused,
    UnknownExperiment,
    WrongStatus,
)


class Model(RuleBasedStateMachine):
    """The product on a fresh database and folder; `template` is a migrated database."""

    template = None
    folder = None

    def __init__(self):
        super().__init__()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        shutil.copy(self.template, self.folder / "experiments.sqlite3")
        self.store = Store(make_url(f"sqlite:///{self.folder}/experiments.sqlite3"))
        self.database = sqlite3.connect(self.folder / "experiments.sqlite3", isolation_level=None)
        self.database.row_factory = sqlite3.Row
        self.outputs = Outputs(self.folder / "output")
        self.cluster = SimulatedCluster(self.outputs.folder, keeps_cancelled=False)
        self.operations = []
        self.histories = {}
        self.cancels, self.deletes = set(), set()  # ids with such a request
        self.acknowledged = {}  # by uid: the experiment_id of submissions that were answered
        self.reconcilers = [None, None]
        self.experiments = self._process().experiments

    def _process(self):
        """Return the services of one process: a view of its own on the shared state."""
        store = Stepping(self.store, lambda _name: StoreUnavailable("gone", away=True))
        launcher = Stepping(self.cluster, lambda _name: UNREACHABLE, ("render",))
        outputs = Stepping(
            self.outputs, lambda _name: OSError(errno.ENOSPC, "No space left on device"), READS
        )
        inputs = Inputs(self.folder / "input")
        return assemble(store, launcher, inputs, outputs, log_max_bytes=1000)

    def _begin(self, work, experiment_id=None):
        operation = Operation(work)
        operation.experiment_id = experiment_id
        self.operations.append(operation)
        self._tidy()

    def _tidy(self):
        for operation in [operation for operation in self.operations if operation.at is None]:
            self.operations.remove(operation)
            if operation.error is not None and not isinstance(operation.error, ANSWERS):
                raise operation.error
            if operation.result is not None and isinstance(operation.result, tuple):
                experiment = operation.result[1]
                self.acknowledged[experiment.uid] = experiment.experiment_id

    # Requests

    @precondition(lambda self: len(self.operations) < MAX_OPERATIONS)
    @rule(experiment_id=st.sampled_from(IDS), parameters=st.sampled_from(PARAMETERS))
    def submit(self, experiment_id, parameters):
        self._begin(lambda: self.experiments.submit(experiment_id, parameters), experiment_id)

    @precondition(lambda self: len(self.operations) < MAX_OPERATIONS)
    @rule(experiment_id=st.sampled_from(IDS))
    def cancel(self, experiment_id):
        self.cancels.add(experiment_id)
        self._begin(lambda: self.experiments.cancel(experiment_id) and None, experiment_id)

    @precondition(lambda self: len(self.operations) < MAX_OPERATIONS)
    @rule(experiment_id=st.sampled_from(IDS))
    def retry(self, experiment_id):
        self._begin(lambda: self.experiments.retry(experiment_id) and None, experiment_id)

    @precondition(lambda self: len(self.operations) < MAX_OPERATIONS)
    @rule(experiment_id=st.sampled_from(IDS), outputs=st.booleans())
    def delete(self, experiment_id, outputs):
        self.deletes.add(experiment_id)
        self._begin(lambda: self.experiments.delete(experiment_id, outputs=outputs), experiment_id)

    # Reconcilers

    @rule(number=st.sampled_from((0, 1)))
    def reconcile(self, number):
        if any(getattr(operation, "reconciler", None) == number for operation in self.operations):
            return
        if self.reconcilers[number] is None:
            self.reconcilers[number] = Reconciler(self._process(), 60)
        self._begin(self.reconcilers[number].reconcile)
        for operation in self.operations[-1:]:
            operation.reconciler = number

    # Progress of operations

    @precondition(lambda self: self.operations)
    @rule(data=st.data(), steps=st.integers(1, 4))
    def resume(self, data, steps):
        operation = data.draw(st.sampled_from(self.operations), label="operation")
        for _ in range(steps):
            if operation.at is not None:
                operation.step()
        self._tidy()

    @precondition(lambda self: self.operations)
    @rule(data=st.data(), verdict=st.sampled_from(list(Verdict)[1:]))
    def inject_fault(self, data, verdict):
        operation = data.draw(st.sampled_from(self.operations), label="operation")
        operation.step(verdict)
        if operation.crashed and getattr(operation, "reconciler", None) is not None:
            self.reconcilers[operation.reconciler] = None
        self._tidy()

    @precondition(lambda self: self.operations)
    @rule(data=st.data())
    def finish(self, data):
        data.draw(st.sampled_from(self.operations), label="operation").finish()
        self._tidy()

    # Jobs

    @precondition(lambda self: self.cluster.live())
    @rule(
        data=st.data(),
        event=st.sampled_from(("start", "suspend", "write_summary", "succeed", "fail", "remove")),
    )
    def change_job(self, data, event):
        attempt = data.draw(st.sampled_from(self.cluster.live()), label="attempt")
        getattr(self.cluster, event)(attempt.handle)

    @precondition(lambda self: len(self.cluster.jobs) > len(self.cluster.live()))
    @rule(data=st.data())
    def expire_job(self, data):
        ended = [k for k, observed in self.cluster.jobs.items() if observed.phase not in GOING_ON]
        self.cluster.remove(data.draw(st.sampled_from(ended), label="job"))

    @rule(refusing=st.booleans())
    def set_refusing(self, refusing):
        self.cluster.refusing = refusing

    def teardown(self):
        """Finish everything, and check that nothing is stuck, lost or duplicated."""
        for operation in list(self.operations):
            operation.finish()
        self._tidy()
        self._settle()
        self._check_settled()
        self.store.close()
        self.database.close()

    # Invariants

    @invariant()
    def database_is_consistent(self):
        rows = self._rows()
        self._check_histories(rows)
        self._check_ends(rows)
        uids = {row["uid"] for row in rows}
        for uid, experiment_id in self.acknowledged.items():
            assert uid in uids or experiment_id in self.deletes

    def _rows(self):
        return self.database.execute("SELECT * FROM experiment").fetchall()

    def _check_histories(self, rows):
        query = "SELECT attempt, from_status, to_status FROM transition WHERE experiment = ?"
        for row in rows:
            steps = [tuple(step) for step in self.database.execute(query, (row["id"],))]
            before = self.histories.get(row["uid"], [])
            assert steps[: len(before)] == before
            self.histories[row["uid"]] = steps
            assert steps[0] == (1, None, "submitting")
            assert (steps[-1][0], steps[-1][2]) == (row["attempt"], row["status"])
            for (attempt, _, reached), (following, old, new) in itertools.pairwise(steps):
                assert old == reached
                if following == attempt:
                    assert (old, new) == REQUEUED or path(Status(old), Status(new)) == [old, new]
                else:
                    assert (following, new) == (attempt + 1, "submitting")
                    assert old in ("failed", "cancelled")

    def _check_ends(self, rows):
        for row in rows:
            ends = self.cluster.ends.get((row["uid"], row["attempt"]))
            match row["status"], row["reason"]:
                case "succeeded", _:
                    assert ends.succeeded
                case "failed", "job_refused":
                    pass
                case "failed", "trainer_failed":
                    assert ends.failed
                case "failed", reason:
                    assert reason == "job_deleted"
                    assert ends.gone
                    assert not ends.succeeded
                case "cancelled", _:
                    assert row["experiment_id"] in self.cancels
                    assert row["cancel_requested_at"]

    def _settle(self):
        self.cluster.refusing = False
        self.reconcilers = [None, None]
        reconciler = Reconciler(self._process(), ttl_seconds=60)
        for _ in range(4):
            reconciler.reconcile()
            self._check_no_stray_jobs()
            for attempt in self.cluster.live():
                self.cluster.succeed(attempt.handle)

    def _check_no_stray_jobs(self):
        rows = {row["uid"]: row for row in self._rows()}
        live = defaultdict(list)
        for attempt in self.cluster.live():
            live[attempt.experiment_id].append(attempt)
        for experiment_id, attempts in live.items():
            assert len(attempts) == 1, f"{experiment_id} has {attempts}"
            row = rows.get(attempts[0].uid)
            assert row is None or row["attempt"] == attempts[0].number
            assert row is None or row["status"] in (*LIVE, "succeeded")

    def _check_settled(self):
        assert not self.cluster.live()
        self.database_is_consistent()
        for row in self._rows():
            assert row["status"] not in LIVE, dict(row)
            was_started = any(uid == row["uid"] for uid, _ in self.cluster.ends)
            if was_started and row["experiment_id"] not in self.deletes:
                run_file = self.outputs.folder(row["experiment_id"]) / "run.json"
                assert json.loads(run_file.read_text())["uid"] == row["uid"]


def test_any_interleaving(tmp_path, migrated_sqlite, monkeypatch):
    monkeypatch.setattr(reconciler_module, "SUBMIT_GRACE", timedelta(-1))
    Model.template, Model.folder = migrated_sqlite, tmp_path / "model"
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=50,
            deadline=None,
            derandomize=not IS_LONG,
            phases=[Phase.generate, Phase.shrink] if IS_LONG else [Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
