"""The limit of open files: raised at the start of the web role, and kept by its connections."""

import resource

import pytest

from backend import roles
from backend.web.worker.limits import MOST_CONNECTIONS, most_connections

INFINITY = resource.RLIM_INFINITY


@pytest.fixture
def limit(monkeypatch):
    """Replace the limit of this process; returns its value as it would be set."""
    values = {}
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: values["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, new: values.update(now=new))
    return values


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1_000_000), (65_536, 1_000_000)),
        ((1024, INFINITY), (65_536, INFINITY)),
        ((1024, 1024), (1024, 1024)),
        ((100_000, 1_000_000), (100_000, 1_000_000)),
        ((INFINITY, INFINITY), (INFINITY, INFINITY)),
    ],
)
def test_limit_is_raised_but_never_lowered(limit, before, after):
    limit["now"] = before
    roles.raise_file_limit()
    assert limit["now"] == after


@pytest.mark.parametrize(
    ("files", "connections"),
    [(1024, 412), (256, 28), (100, 1), (65_536, MOST_CONNECTIONS), (INFINITY, MOST_CONNECTIONS)],
)
def test_connections_leave_files_for_the_rest(limit, files, connections):
    limit["now"] = (files, files)
    assert most_connections() == connections
