"""The priority of an experiment, and its place in the queue, in the dashboard."""

import re
from dataclasses import replace

import pytest

from backend.launchers.base import Phase
from tests.component.support import PARAMETERS

HIGH = replace(PARAMETERS, priority="high")


def chosen(page):
    """Return the priority that the form for a new experiment begins with."""
    select = re.search(r'<select id="priority".*?</select>', page, re.DOTALL)[0]
    assert re.findall(r'value="(\w+)"', select) == ["low", "normal", "high"]
    return re.findall(r'value="(\w+)" selected', select)


def test_form_offers_the_priorities(client, experiments):
    assert chosen(client.get("/ui/new").text) == ["normal"]
    experiments.submit("urgent", HIGH)
    assert chosen(client.get("/ui/new").text) == ["normal"]  # not that of the last one
    assert chosen(client.get("/ui/new?from=urgent").text) == ["high"]


def test_page_shows_a_priority(client, experiments):
    experiments.submit("urgent", HIGH)
    experiments.submit("usual", PARAMETERS)
    page = client.get("/ui/experiments/urgent").text
    assert re.search(r"<dt>Priority</dt><dd>high</dd>", page)
    assert "--form-string priority=high" in page
    usual = client.get("/ui/experiments/usual").text
    assert "<dt>Priority</dt>" not in usual
    assert "priority=" not in usual


@pytest.mark.parametrize(
    ("number", "text"), [(0, "next in the queue"), (2, "number 3 in the queue")]
)
def test_page_shows_the_place_in_the_queue(client, make_experiment, launcher, number, text):
    jobs = [make_experiment(name, Phase.QUEUED).job for name in ("a", "b", "c")]
    launcher.queue = jobs
    name = "abc"[number]
    assert text in client.get(f"/ui/experiments/{name}").text
    launcher.queue = []
    assert "in the queue" not in client.get(f"/ui/experiments/{name}").text
