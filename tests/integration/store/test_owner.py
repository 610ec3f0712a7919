"""A database belongs to one cluster and namespace, or to one machine and output folder."""

from dataclasses import replace

import pytest

from backend.app import create_app
from backend.domain.exceptions import WrongOwner
from backend.domain.owner import Owner
from backend.roles import claim, prepare
from backend.settings import Settings
from tests.integration.launcher_harness import AN_ATTEMPT, LocalHarness

CLUSTER = Owner("kubernetes", "default", frozenset({"ca:1", "uid:1"}))
FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}


def opened(open_store, database, owner):
    return open_store(database, find_owner=lambda: owner)


def test_first_start_claims(database, open_store):
    opened(open_store, database, CLUSTER).prepare()

    [(identity,)] = database.execute("SELECT identity FROM hello_flask_owner")
    assert Owner.from_text(identity) == CLUSTER


@pytest.mark.parametrize(
    "other",
    [
        Owner("local", "/output", frozenset({"machine:1"})),
        Owner("kubernetes", "team", CLUSTER.marks),
        Owner("kubernetes", "default", frozenset({"ca:2", "uid:2"})),
        Owner("kubernetes", "default", frozenset()),
    ],
)
def test_other_server_is_refused(database, open_store, other):
    opened(open_store, database, CLUSTER).prepare()
    store = opened(open_store, database, other)

    with pytest.raises(WrongOwner, match=r"belongs to another server .*namespace default"):
        store.prepare()
    with pytest.raises(WrongOwner):  # as when the database was away at the start
        store.in_status(["queued"])
    with pytest.raises(WrongOwner):
        opened(open_store, database, other).get("first")


@pytest.mark.parametrize("marks", [{"ca:1"}, {"uid:1"}, {"ca:2", "uid:1"}])
def test_one_equal_mark_suffices(database, open_store, marks):
    opened(open_store, database, CLUSTER).prepare()

    opened(open_store, database, Owner("kubernetes", "default", frozenset(marks))).prepare()


def test_renewed_authority_is_learned(database, open_store):
    """The role could read the uid only while the authority was renewed."""
    for marks in ({"ca:1"}, {"ca:1", "uid:1"}, {"ca:2", "uid:1"}, {"ca:2"}):
        opened(open_store, database, Owner("kubernetes", "default", frozenset(marks))).prepare()


def test_other_machine_or_folder_is_refused(database, open_store):
    opened(open_store, database, Owner("local", "/a", frozenset({"machine:1"}))).prepare()

    for place, mark in (("/b", "machine:1"), ("/a", "machine:2")):
        with pytest.raises(WrongOwner):
            opened(open_store, database, Owner("local", place, frozenset({mark}))).prepare()


def test_claim_moves_it(database, open_store):
    other = Owner("local", "/output", frozenset({"machine:1"}))
    opened(open_store, database, CLUSTER).prepare()

    assert open_store(database).claim(other) == (CLUSTER, 0)

    opened(open_store, database, other).prepare()
    with pytest.raises(WrongOwner):
        opened(open_store, database, CLUSTER).prepare()


@pytest.mark.parametrize("identity", ["", "{}", "[1]", '{"launcher": 1, "place": 2, "marks": 3}'])
def test_damaged_owner_is_refused_until_claimed(database, open_store, identity):
    opened(open_store, database, CLUSTER).prepare()
    database.execute("UPDATE hello_flask_owner SET identity = :text", text=identity)

    with pytest.raises(WrongOwner):
        opened(open_store, database, CLUSTER).prepare()
    open_store(database).claim(CLUSTER)
    opened(open_store, database, CLUSTER).prepare()


def test_second_server_leaves_first_alone(backend, environ, kubernetes):
    """The second has another launcher: it does not start, and the trainer of the first goes on."""
    harness = LocalHarness(environ)
    try:
        server = backend("serve").ready()
        assert server.ask("/test", FORM).status == 201
        second = backend("serve", LAUNCHER="kubernetes")

        assert second.exit_code() == 2
        [line] = [each for each in second.stderr.splitlines() if each.startswith("error:")]
        assert "belongs to another server (LAUNCHER=local" in line
        assert "(LAUNCHER=kubernetes, namespace default" in line
        assert server.ask("/experiments/first").json["status"] == "queued"
        harness.start(replace(AN_ATTEMPT, experiment_id="first"))
        server.reaches("first", "running")
    finally:
        harness.close()


def test_pod_waits_for_the_claim(environ, tmp_path):
    """Nobody could run the command in a container that exits."""
    ours = Settings.from_environment(environ)
    prepare(ours)
    moved = replace(ours, output_dir=tmp_path / "moved", in_pod=True)
    with pytest.raises(WrongOwner):
        prepare(moved, database_required=True)

    prepare(moved)
    client = create_app(moved).test_client()
    refused = [client.get("/readyz"), client.get("/experiments"), client.post("/test", data=FORM)]
    for answer in refused:
        assert answer.status_code == 503
        assert "belongs to another server" in answer.json["detail"]
    claim(moved)

    assert client.get("/readyz").status_code == 200
    assert client.get("/experiments").json == []


def test_claim_command(backend, environ, tmp_path):
    """The output folder was moved; the migration alone claims nothing."""
    assert backend("migrate", OUTPUT_DIR=str(tmp_path / "elsewhere")).exit_code() == 0
    assert backend("rebuild").exit_code() == 0
    moved = {"OUTPUT_DIR": str(tmp_path / "moved")}
    assert backend("rebuild", **moved).exit_code() == 2

    claim = backend("claim", **moved)

    assert claim.exit_code() == 0
    assert f"belonged to: LAUNCHER=local, OUTPUT_DIR {environ['OUTPUT_DIR']}" in claim.stdout
    assert backend("rebuild", **moved).exit_code() == 0
    assert backend("rebuild").exit_code() == 2
