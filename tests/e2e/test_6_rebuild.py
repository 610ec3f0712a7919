"""Rebuilding a lost database from the output folders and the Jobs."""

from typing import Any

from backend.store.schema import VERSION_TABLE
from backend.store.tables import metadata
from tests.e2e.conftest import DATASET
from tests.e2e.support import Deployment, eventually, kubectl, run

EXECUTE = (
    "import sys; from sqlalchemy import text; from backend.settings import Settings;"
    "from backend.store.engine import make_engine;"
    "engine = make_engine(Settings.from_environment().database_url);"
    "connection = engine.connect();"
    "[connection.execute(text(statement)) for statement in sys.argv[1:]]; connection.commit()"
)
DELETE_ALL = ("DELETE FROM transition", "DELETE FROM experiment")


def everything(backend: Deployment) -> dict[str, Any]:
    """Return every experiment in full, by its id."""
    names = [listed["experiment_id"] for listed in backend.get("/experiments?limit=1000").json()]
    return {name: backend.experiment(name) for name in names}


def check(backend: Deployment) -> tuple[int, str]:
    pod = ("-n", backend.namespace, "exec", "hello-flask", "-c", "web", "--")
    result = run("kubectl", *pod, "python", "-m", "backend", "rebuild", "--check")
    return result.returncode, result.stdout.decode()


def test_lost_database_is_rebuilt(backend: Deployment) -> None:
    # The Job of one is deleted, so that only its folder is left.
    for name in ("older", "newer"):
        assert backend.post(name, epoch=2, dataset=DATASET).status == 201
    for name in ("older", "newer"):
        backend.wait_until(name, "succeeded")
    (job,) = backend.jobs_of("newer")
    kubectl("-n", backend.namespace, "delete", "job", job["metadata"]["name"])
    before = everything(backend)
    code, printed = check(backend)
    assert code == 0, printed

    backend.in_web("python", "-c", EXECUTE, *DELETE_ALL)
    code, printed = check(backend)
    assert code == 1
    assert "'newer': it is missing in the database; its run.json says succeeded" in printed
    backend.in_web("python", "-m", "backend", "rebuild")

    after = everything(backend)
    assert after == before
    assert [name for name in after if name in ("older", "newer")] == ["newer", "older"]
    code, printed = check(backend)
    assert code == 0, printed


def test_unknown_job_is_adopted(backend: Deployment) -> None:
    before = backend.experiment("older")
    statement = "DELETE FROM experiment WHERE experiment_id = 'older'"
    backend.in_web("python", "-c", EXECUTE, statement)

    eventually(
        lambda: "older" in everything(backend),
        seconds=120,
        what="the Job is adopted",
        explain=backend.explain,
    )
    assert backend.experiment("older") == before


def test_dropped_tables_are_recreated(backend: Deployment) -> None:
    before = everything(backend)
    tables = [*(table.name for table in reversed(metadata.sorted_tables)), VERSION_TABLE]
    backend.in_web("python", "-c", EXECUTE, *(f"DROP TABLE {table}" for table in tables))
    backend.in_web("python", "-m", "backend", "rebuild")

    backend.wait_ready()
    assert everything(backend) == before
