"""What experiments use, as the API and the dashboard show it."""

import re

import pytest

from backend.domain.execution.usage import Usage
from backend.files.resource_files import Sample
from backend.launchers.base import Observation, Phase
from tests.component.support import check_problem

MIB = 2**20
PEAKS = {  # by experiment: cores and MiB
    "a": (0.5, 300),
    "b": (2.0, 100),
    "c": (1.0, 200),
}


@pytest.fixture
def measured(services, make_experiment):
    """Three experiments with peaks, and one without."""
    for name, (cpu, mib) in PEAKS.items():
        experiment = make_experiment(name, Phase.RUNNING)
        services.store.raise_peaks([(experiment, Usage(cpu, mib * MIB))])
    return make_experiment("d", Phase.RUNNING)


def ids(client, query):
    response = client.get(f"/experiments?{query}")
    assert response.status_code == 200, response.text
    return "".join(experiment["experiment_id"] for experiment in response.json)


def test_curve(client, services, make_experiment):
    make_experiment("a", Phase.RUNNING)
    path = "/experiments/a/resources"
    nothing = {"experiment_id": "a", "attempt": 1, "elapsed": [], "resources": {}}
    assert client.get(path).json == nothing

    services.resources.append("a", 1, Sample(5.0, Usage(1.5, 7)))
    services.resources.append("a", 1, Sample(10.0, Usage(None, 8)))
    response = client.get(path)
    assert response.json == nothing | {
        "elapsed": [5.0, 10.0],
        "resources": {"cpu": [1.5, None], "memory": [7, 8]},
    }
    unchanged = {"If-None-Match": response.headers["ETag"]}
    assert client.get(path, headers=unchanged).status_code == 304
    services.resources.append("a", 1, Sample(15.0, Usage(1.0, 8)))
    assert len(client.get(path, headers=unchanged).json["elapsed"]) == 3


def test_curve_of_an_earlier_attempt(client, services, experiments, make_experiment):
    make_experiment("a", Phase.RUNNING)
    services.resources.append("a", 1, Sample(5.0, Usage(1.5)))
    failed = experiments.get("a")
    services.recorder.record(failed, Observation(failed.uid, Phase.FAILED))
    experiments.retry("a")
    assert client.get("/experiments/a/resources").json["elapsed"] == []
    assert client.get("/experiments/a/resources?attempt=1").json["elapsed"] == [5.0]
    check_problem(client.get("/experiments/a/resources?attempt=3"), 404, "3")


@pytest.mark.parametrize(
    ("path", "status"),
    [("none/resources", 404), ("a/resources?attempt=0", 422), ("a/resources?attempts=1", 422)],
)
def test_wrong_requests(client, make_experiment, path, status):
    make_experiment("a")
    check_problem(client.get(f"/experiments/{path}"), status)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=peak_memory", "bca"),
        ("sort=-peak_memory", "acb"),
        ("sort=-peak_cpu", "bca"),
        ("sort=peak_gpu", ""),
        ("sort=-peak_memory&status=running,failed", "acb"),
        ("sort=-peak_memory&status=failed", ""),
        (f"where=peak_memory>{150 * MIB}", "ca"),
        ("where=peak_cpu<=1 and peak_memory>0", "ca"),
        ("where=peak_gpu_memory>0", ""),
    ],
)
def test_list_by_peaks(client, query, expected):
    assert ids(client, query) == expected


@pytest.mark.usefixtures("measured")
def test_pages_by_peaks(client):
    seen, path = "", "/experiments?sort=-peak_memory&limit=1"
    while path:
        response = client.get(path)
        seen += "".join(one["experiment_id"] for one in response.json)
        link = re.search(r'<([^>]+)>; rel="next"', response.headers.get("Link", ""))
        path = link and link[1]
    assert seen == "acb"


@pytest.mark.usefixtures("measured")
def test_peaks_in_answers(client):
    names = {"peak_cpu": 0.5, "peak_memory": 300 * MIB, "peak_gpu": None, "peak_gpu_memory": None}
    shown = client.get("/experiments/a").json
    listed = client.get("/experiments?q=a").json[0]
    assert names.items() <= shown.items()
    assert names.items() <= listed.items()
    chosen = client.get("/experiments?q=a&fields=experiment_id,peak_memory").json
    assert chosen == [{"experiment_id": "a", "peak_memory": 300 * MIB}]
    table = client.get("/experiments?q=a&format=csv").text.splitlines()
    assert "peak_cpu,peak_memory,peak_gpu,peak_gpu_memory" in table[0]


def test_a_risen_peak_changes_the_version_of_the_list(client, services, measured):
    before = client.get("/experiments")
    unchanged = {"If-None-Match": before.headers["ETag"]}
    assert client.get("/experiments", headers=unchanged).status_code == 304
    services.store.raise_peaks([(measured, Usage(gpu=0.5))])
    assert client.get("/experiments", headers=unchanged).json[0]["peak_gpu"] == 0.5


@pytest.mark.usefixtures("measured")
def test_dashboard(client):
    page = client.get("/ui/experiments/a").text
    assert re.search(r"<dt>Peak CPU cores</dt><dd>0\.5</dd>", page)
    assert re.search(r"<dt>Peak memory</dt><dd>315 MB</dd>", page)
    assert "Peak GPUs" not in page
    assert "Peak usage" not in client.get("/ui/experiments/d").text

    listed = client.get("/ui?columns=peak_memory&sort=-peak_memory").text
    assert re.findall(r">(\d+) MB<", listed) == ["315", "210", "105"]
    assert 'aria-sort="descending"' in listed
