"""Several nodes for one experiment: what an entry may say, and the names that follow from it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.attempt import Attempt
from backend.domain.catalogue import Entry, InvalidEntry
from backend.domain.execution.gang import MAX_NODES
from backend.domain.identifiers import MAX_NAME

LONGEST = Attempt("x" * 200, "uid", "m" * 32, 0.001, 1, None, 1)


def entry(**keys):
    return Entry.from_document("own", {"image": "localhost:5000/own:1"} | keys)


def test_entry_names_its_nodes():
    gang = entry(nodes=3)

    assert (gang.nodes, gang.gang_nodes) == (3, 3)
    assert Entry.from_content(gang.content) == gang


def test_entry_of_one_node_has_the_digest_of_older_versions():
    assert entry(nodes=1).content == entry().content
    assert entry().gang_nodes is None
    assert "nodes" not in entry().content


@pytest.mark.parametrize("nodes", [0, -1, MAX_NODES + 1, 2.0, "2", True, None, [2]])
def test_other_nodes_are_refused(nodes):
    with pytest.raises(InvalidEntry, match=f"nodes must be a whole number from 1 to {MAX_NODES}"):
        entry(nodes=nodes)


def test_fields_of_one_node_are_those_of_older_versions():
    assert "nodes" not in LONGEST.to_fields()
    gang = replace(LONGEST, nodes=2)
    assert gang.to_fields() == LONGEST.to_fields() | {"nodes": 2}
    assert Attempt.from_fields(gang.to_fields()) == gang


@pytest.mark.parametrize("nodes", [0, 1, MAX_NODES + 1, "2", 2.0, True])
def test_fields_with_other_nodes_are_no_attempt(nodes):
    assert Attempt.from_fields(LONGEST.to_fields() | {"nodes": nodes}) is None


@given(
    st.text("ab-", min_size=1, max_size=200),
    st.integers(2, MAX_NODES),
    st.integers(1, 10_000),
)
def test_host_names_of_pods_are_dns_labels(experiment_id, nodes, number):
    """Kubernetes refuses a Job whose pods' host names, `<job>-<index>`, are longer."""
    gang = replace(LONGEST, experiment_id=experiment_id, number=number, nodes=nodes)

    assert len(f"{gang.handle}-{nodes - 1}") <= MAX_NAME
    assert gang.handle == replace(gang).handle


def test_only_a_long_name_of_a_gang_is_shorter():
    assert len(LONGEST.handle) == MAX_NAME
    assert len(replace(LONGEST, nodes=2).handle) == MAX_NAME - len("-1")
    assert len(replace(LONGEST, nodes=11).handle) == MAX_NAME - len("-10")
    short = replace(LONGEST, experiment_id="first")
    assert replace(short, nodes=2).handle == short.handle
