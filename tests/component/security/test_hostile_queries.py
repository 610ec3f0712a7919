"""Whatever a client sends as a parameter of any route, no answer is a mistake of the server."""

import string

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.component.support import FORM

VALUES = [
    *("", "0", "-1", "1e309", "NaN", "9" * 30, "٣", "１", "1_0", " 1", "0x1", "\0", "%00", "null"),
    *("[]", "a" * 5000, "\u202e", "\ufeff", "loss<1", "loss<", "metrics..last", "-metrics.a\0.max"),
    *("epoch>1e999", "epoch=NaN", "model!='x'", "'\"", "created_at<yesterday", "csv", "xml", "--"),
    *("9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "10000-01-01", "2024-02-30T00:00:00Z"),
    *("2026-11-30T00:00:00Z,5", "1,2", "eyJ9", "status", "experiment_id,,x", "*", "a=b&c=d"),
]
QUERIES = {
    "/model": "limit after status model q created_after where sort fields format",
    "/experiments": "limit after status model q created_after where sort fields format unknown",
    "/models": "unknown",
    "/ui": "q status sort where after metric",
    "/ui/new": "from model",
    "/ui/compare": "id",
    "/compare": "ids id max_points",
    "/experiments/first/metrics": "since_epoch max_points",
    "/experiments/first/logs": "tail attempt",
    "/experiments/first/files": "sha256",
    "/inputs": "unknown",
}
PLACES = [(route, name) for route, names in QUERIES.items() for name in names.split()]
PATHS = (
    *(
        "/experiments/{}",
        "/experiments/{}/metrics",
        "/experiments/{}/logs",
        "/experiments/{}/files",
    ),
    *("/experiments/first/files/{}", "/inputs/{}", "/models/{}", "/ui/experiments/{}"),
)
texts = st.one_of(
    st.sampled_from(VALUES),
    st.text(max_size=20),
    st.text("<>=!.-+eE0123456789, az'\"%_", max_size=20),
)
hostile = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def _experiment(client):
    client.post("/test", data=FORM)


@pytest.mark.parametrize(("route", "name"), PLACES)
@hostile
@given(values=st.lists(texts, min_size=1, max_size=3))
@example(values=VALUES[:1])
def test_hostile_parameter(client, route, name, values):
    response = client.get(route, query_string={name: values}, buffered=True)
    assert response.status_code < 500, response.text
    if response.status_code >= 400 and not route.startswith("/ui"):
        assert response.content_type == "application/problem+json"
        assert response.json["detail"].strip()[-1] in string.punctuation


@pytest.mark.parametrize(("route", "name"), PLACES)
def test_known_hostile_values(client, route, name):
    for value in VALUES:
        response = client.get(route, query_string={name: value}, buffered=True)
        assert response.status_code < 500, (value, response.text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "POST", "PATCH", "OPTIONS"])
@hostile
@given(text=texts)
def test_hostile_path(client, path, method, text):
    response = client.open(path.format(text), method=method, data=b"a,b\n1,2\n", buffered=True)
    assert response.status_code < 500, response.text
