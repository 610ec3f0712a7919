import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.identifiers import experiment_id_problem, job_name

DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])")
IDS = st.text(min_size=1, max_size=200).filter(lambda text: experiment_id_problem(text) is None)


@pytest.mark.parametrize(
    "experiment_id",
    ["first", "실험 1", "run#1", "a%2Fb", "CON", "😀" * 60, "x" * 200, "a..b", "$(EPOCH)", "a:b"],
)
def test_valid_ids(experiment_id):
    assert experiment_id_problem(experiment_id) is None


@pytest.mark.parametrize(
    ("experiment_id", "why"),
    [
        ("", "1 to 200 characters"),
        ("x" * 201, "1 to 200 characters"),
        ("😀" * 64, "255 bytes"),
        ("../x", "'/'"),
        ("a/b", "'/'"),
        ("a\\b", "'/'"),
        (".x", "begin with '.'"),
        ("x.", "end with"),
        ("x ", "end with"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x85b", "control"),
        ("\ud800", "surrogate"),
        ("\ufffd", "UTF-8"),
    ],
)
def test_invalid_ids(experiment_id, why):
    assert why in experiment_id_problem(experiment_id)


@settings(deadline=None)
@given(IDS, st.integers(1, 10**6))
def test_job_name_is_a_dns_label(experiment_id, attempt):
    assert DNS_LABEL.fullmatch(job_name("autoencoder", experiment_id, attempt))


@settings(deadline=None)
@given(st.lists(IDS, unique=True, max_size=20))
def test_job_names_are_unique(ids):
    assert len({job_name("autoencoder", experiment_id, 1) for experiment_id in ids}) == len(ids)


def test_job_name_is_recognisable():
    assert job_name("autoencoder", "My run #7", 2).startswith("autoencoder-my-run-7-")
    assert job_name("autoencoder", "My run #7", 2).endswith("-2")
    assert job_name("autoencoder", "Run1", 1) != job_name("autoencoder", "run1", 1)
