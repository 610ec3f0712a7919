"""The database is lost; the folders and the Jobs are there."""

from typing import Any

from tests.e2e.conftest import DATASET
from tests.e2e.support import Deployment, eventually, kubectl, run

EXECUTE = (
    "import sys; from sqlalchemy import text; from backend.settings import Settings;"
    "from backend.store.engine import make_engine;"
    "engine = make_engine(Settings.from_environment().database_url);"
    "connection = engine.connect();"
    "[connection.execute(text(one)) for one in sys.argv[1:]]; connection.commit()"
)
EVERYTHING = ("DELETE FROM transition", "DELETE FROM experiment")


def told(backend: Deployment) -> dict[str, Any]:
    """Give all that the backend says of every run."""
    names = [one["experiment_id"] for one in backend.get("/experiments?limit=1000").json()]
    return {name: backend.experiment(name) for name in names}


def check(backend: Deployment) -> tuple[int, str]:
    pod = ("-n", backend.namespace, "exec", "hello-flask", "-c", "web", "--")
    result = run("kubectl", *pod, "python", "-m", "backend", "rebuild", "--check")
    return result.returncode, result.stdout.decode()


def test_a_lost_database_is_made_right_again(backend: Deployment) -> None:
    # The newer one's Job goes: its folder alone knows of it.
    for name in ("older", "newer"):
        assert backend.post(name, epoch=2, dataset=DATASET).status == 201
    for name in ("older", "newer"):
        backend.wait_until(name, "succeeded")
    (job,) = backend.jobs_of("newer")
    kubectl("-n", backend.namespace, "delete", "job", job["metadata"]["name"])
    before = told(backend)
    code, printed = check(backend)
    assert code == 0, printed

    backend.in_web("python", "-c", EXECUTE, *EVERYTHING)
    code, printed = check(backend)
    assert code == 1
    assert "'newer': it is missing in the database; its run.json says succeeded" in printed
    backend.in_web("python", "-m", "backend", "rebuild")

    after = told(backend)
    assert after == before
    assert [name for name in after if name in ("older", "newer")] == ["newer", "older"]
    code, printed = check(backend)
    assert code == 0, printed


def test_a_job_that_the_database_does_not_know_is_adopted(backend: Deployment) -> None:
    before = backend.experiment("older")
    one = "DELETE FROM experiment WHERE experiment_id = 'older'"
    backend.in_web("python", "-c", EXECUTE, one)

    eventually(
        lambda: "older" in told(backend),
        seconds=120,
        what="the Job is adopted",
        explain=backend.explain,
    )
    assert backend.experiment("older") == before


def test_dropped_tables_are_made_again(backend: Deployment) -> None:
    before = told(backend)
    tables = ("transition", "experiment", "hello_flask_schema")
    backend.in_web("python", "-c", EXECUTE, *(f"DROP TABLE {table}" for table in tables))
    backend.in_web("python", "-m", "backend", "rebuild")

    backend.wait_ready()
    assert told(backend) == before
