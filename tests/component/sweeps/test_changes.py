"""Changes of sweeps, as they are streamed."""

from backend.sweeps import changes as changes_module
from backend.sweeps.changes import SweepChanges
from tests.component.sweeps.test_routes import FORM


def test_each_change_is_seen_once(client, sweeps, monkeypatch):
    monkeypatch.setattr(changes_module, "POLL_SECONDS", 0.0)
    client.post("/sweeps", data=FORM)
    watching = SweepChanges(sweeps.table)
    assert watching.new() == []
    client.post("/sweeps/s/pause")
    client.post("/sweeps", data=FORM | {"sweep_id": "t"})

    assert [(sweep.sweep_id, sweep.status) for sweep in watching.new()] == [
        ("s", "paused"),
        ("t", "running"),
    ]
    assert watching.new() == []


def test_an_outage_is_waited_out(client, sweeps, outage, monkeypatch):
    monkeypatch.setattr(changes_module, "POLL_SECONDS", 0.0)
    outage.begin()
    watching = SweepChanges(sweeps.table)
    assert watching.new() == []
    outage.end()
    assert watching.new() == []
    client.post("/sweeps", data=FORM)

    assert [sweep.sweep_id for sweep in watching.new()] == ["s"]
