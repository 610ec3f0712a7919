"""One name, composed (NFC) and decomposed (NFD): one experiment, one data set."""

import unicodedata
from urllib.parse import quote

import pytest

from backend.domain.experiment import Parameters
from backend.experiments.events import TransitionFeed
from backend.experiments.service import Experiments
from backend.web.schemas import fields
from tests.component.support import FORM, check_problem

NFC, NFD = (unicodedata.normalize(form, "데이터 é") for form in ("NFC", "NFD"))


def address(experiment_id, rest=""):
    return f"/experiments/{quote(experiment_id)}{rest}"


def post(client, **changes):
    return client.post("/test", data=FORM | changes)


@pytest.fixture
def old(client, monkeypatch):
    """An experiment of a version that stored ids as they were sent, here decomposed."""
    with monkeypatch.context() as patch:
        patch.setattr(fields, "canonical", str)
        patch.setattr(Experiments, "stored_id", lambda _service, sent: sent)
        response = post(client, experiment_id=NFD)
    assert (response.status_code, response.json["experiment_id"]) == (201, NFD)
    return response.json


@pytest.mark.parametrize(("first", "second"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_one_experiment(client, settings, launcher, first, second):
    created, again = post(client, experiment_id=first), post(client, experiment_id=second)

    assert (created.status_code, again.status_code) == (201, 200)
    assert created.json["experiment_id"] == again.json["experiment_id"] == NFC
    assert len(launcher.jobs) == 1
    assert [path.name for path in settings.output_dir.iterdir()] == [NFC]
    for form in (NFC, NFD):
        assert client.get(address(form)).json["experiment_id"] == NFC
        assert client.get(address(form, "/files")).status_code == 200
        assert client.get("/ui" + address(form)).status_code == 200
        assert client.get(f"/ui/new?from={quote(form)}").status_code == 200
    assert client.post(address(NFD, "/cancel")).status_code == 202


@pytest.mark.parametrize("form", [NFC, NFD])
def test_old_experiment_is_found(client, old, form):
    assert client.get(address(form)).json["experiment_id"] == old["experiment_id"]
    again = post(client, experiment_id=form)
    assert (again.status_code, again.json["job"]) == (200, old["job"])
    assert client.post(address(form, "/cancel")).status_code == 202
    assert len(client.get("/model").json) == 1


@pytest.mark.parametrize("form", [NFC, NFD])
@pytest.mark.parametrize("parameter", ["id", "ids"])
def test_compared_by_either_form(client, form, parameter):
    post(client, experiment_id=NFC)
    post(client, experiment_id="second")

    both = quote(form) + (",second" if parameter == "ids" else "&id=second")
    compared = client.get(f"/compare?{parameter}={both}")
    assert [each["experiment_id"] for each in compared.json["experiments"]] == [NFC, "second"]
    twice = client.get(f"/compare?id={quote(NFC)}&id={quote(NFD)}")
    assert [each["experiment_id"] for each in twice.json["experiments"]] == [NFC]
    assert client.get(f"/ui/compare?id={quote(form)}&id=second").status_code == 200


@pytest.mark.parametrize("form", [NFC, NFD])
def test_events_of_either_form(client, app, monkeypatch, form):
    def stop(*_arguments):
        app.extensions["streams"].is_stopping = lambda: True

    post(client, experiment_id=NFC)
    monkeypatch.setattr(TransitionFeed, "wait", stop)
    with client.get(
        f"/events?experiment_id={quote(form)}", headers={"Last-Event-ID": "0"}
    ) as stream:
        assert stream.text.count("event: transition") == 2


def test_invisible_characters_in_an_id(client):
    response = post(client, experiment_id="run\u200b1")

    check_problem(response, 422)
    assert "contains U+200B ZERO WIDTH SPACE, which cannot be seen" in response.text


def test_invisible_characters_in_a_dataset(client, settings):
    (settings.input_dir / "a.csv").touch()
    response = post(client, dataset="a\u00a0.csv")

    check_problem(response, 422)
    assert "contains U+00A0 NO-BREAK SPACE, which cannot be seen" in response.text
    upload = client.put("/inputs/" + quote("a\u200b.csv"), data=b"1\n")
    check_problem(upload, 422)
    assert "U+200B ZERO WIDTH SPACE" in upload.text


@pytest.mark.parametrize("on_disk", [NFC, NFD])
@pytest.mark.parametrize("asked", [NFC, NFD])
def test_dataset_is_found_by_either_form(client, settings, on_disk, asked):
    (settings.input_dir / f"{on_disk}.csv").write_bytes(b"1,2\n")

    assert post(client, dataset=f"{asked}.csv").json["dataset"] == f"{on_disk}.csv"
    assert post(client, dataset=f"{NFC}.csv").status_code == 200
    assert post(client, dataset=f"{NFD}.csv").status_code == 200
    with client.get(f"/inputs/{quote(asked)}.csv") as download:
        assert download.data == b"1,2\n"
    assert client.put(f"/inputs/{quote(asked)}.csv", data=b"3\n").status_code == 409
    replaced = client.put(f"/inputs/{quote(asked)}.csv?overwrite=true", data=b"3\n")
    assert replaced.json["name"] == f"{on_disk}.csv"
    assert [path.name for path in settings.input_dir.iterdir()] == [f"{on_disk}.csv"]


def test_upload_is_stored_composed(client, settings):
    response = client.put(f"/inputs/{quote(NFD)}.csv", data=b"1\n")

    assert response.json["name"] == f"{NFC}.csv"
    assert response.headers["Location"] == f"/inputs/{quote(NFC)}.csv"
    assert [path.name for path in settings.input_dir.iterdir()] == [f"{NFC}.csv"]


def test_parameters_with_another_form_are_the_same():
    first, second = (Parameters("autoencoder", 0.1, 2, form) for form in (NFC, NFD))
    assert first.same_as(second)
    assert not first.same_as(Parameters("autoencoder", 0.1, 2, None))
