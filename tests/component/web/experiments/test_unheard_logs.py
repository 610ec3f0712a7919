"""A log whose end nobody has heard says so: whoever listened was killed, or nobody could listen."""

import pytest

from backend.domain.exceptions import StoreUnavailable
from backend.files.log_lines import UNHEARD
from tests.component.support import FORM
from tests.integration.waiting import eventually

SAID = UNHEARD.decode() + "\n"


@pytest.fixture
def log(settings):
    return settings.output_dir / "first" / "logs" / "1.log"


@pytest.fixture
def lost(services):
    """The logs whose ends were counted as lost."""
    lost = []
    services.logs.on_lost_end = lambda: lost.append(1)
    return lost


@pytest.fixture
def cancelled(client, experiments, launcher):
    """An experiment that is being cancelled, and whose pod is not there."""
    client.post("/test", data=FORM)
    launcher.log_source.printed[experiments.get("first").job] = {}
    assert client.post("/experiments/first/cancel").status_code == 202
    return experiments.get("first")


@pytest.fixture
def trace(settings, cancelled):
    """A file that a trainer has written."""
    (settings.output_dir / "first" / "metrics.jsonl").write_text('{"epoch": 1, "loss": 1}\n')


@pytest.mark.usefixtures("trace")
def test_nobody_heard_anything(client, services, cancelled, lost):
    services.recorder.record_gone(cancelled)

    assert client.get("/experiments/first").json["status"] == "cancelled"
    assert client.get("/experiments/first/logs").text == SAID
    assert lost == [1]


@pytest.mark.parametrize("saved", ["", "epoch 1\n"])
def test_whoever_listened_was_killed(client, services, cancelled, log, lost, saved):
    log.parent.mkdir()
    if saved:  # when the cancellation began
        log.write_text(saved)
    log.with_name(".1.log.0123").touch()
    services.recorder.record_gone(cancelled)

    assert client.get("/experiments/first/logs").text == saved + SAID
    assert lost == [1]


def test_it_is_said_once(client, services, cancelled, log, lost, monkeypatch):
    """The database fails before the end is recorded, and the next pass tries it again."""

    def fail(*_arguments, **_options):
        raise StoreUnavailable("It is away.")

    log.parent.mkdir()
    log.with_name(".1.log.0123").touch()
    with monkeypatch.context() as failing:
        failing.setattr(services.store, "advance", fail)
        with pytest.raises(StoreUnavailable):
            services.recorder.record_gone(cancelled)
    services.recorder.record_gone(cancelled)

    assert client.get("/experiments/first/logs").text == SAID
    assert lost == [1]


@pytest.mark.usefixtures("trace")
def test_whole_log_is_left_alone(client, services, cancelled, log, lost):
    log.parent.mkdir()
    log.write_text("epoch 1\n")
    services.recorder.record_gone(cancelled)

    assert client.get("/experiments/first/logs").text == "epoch 1\n"
    assert not lost


def test_trainer_that_was_never_started(client, services, cancelled, settings, lost):
    """The files that it would have read are no trace of it."""
    (settings.output_dir / "first" / "inputs.json").write_text('{"pinned": true, "files": []}')
    services.recorder.record_gone(cancelled)

    assert client.get("/experiments/first").json["status"] == "cancelled"
    assert client.get("/experiments/first/logs").text == ""
    assert not lost


@pytest.mark.parametrize("words", [[], [b"stopped by signal 15"]], ids=["silent", "talking"])
def test_somebody_still_listens(
    client, services, experiments, launcher, log, lost, words, monkeypatch
):
    client.post("/test", data=FORM)
    job = experiments.get("first").job
    printed = launcher.log_source.printed[job] = {"1-pod": []}
    assert client.post("/experiments/first/cancel").status_code == 202
    (log.parents[1] / "metrics.jsonl").write_text('{"epoch": 1, "loss": 1}\n')
    eventually(lambda: list(log.parent.glob(".1.log.*")))
    monkeypatch.setattr(launcher.log_source, "parts", lambda _handle: [])
    services.recorder.record_gone(experiments.get("first"))
    printed["1-pod"] += words
    launcher.log_source.ended.add("1-pod")

    eventually(log.exists)
    assert log.read_bytes() == b"".join(word + b"\n" for word in words)
    assert not lost
