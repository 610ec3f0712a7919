import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.identifiers import (
    canonical,
    experiment_id_problem,
    forms,
    invisible_character,
    job_name,
    new_id_problem,
)

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
    assert why in new_id_problem(experiment_id)


@pytest.mark.parametrize(
    ("experiment_id", "character"),
    [
        ("a\u200bb", "U+200B ZERO WIDTH SPACE"),
        ("a\u200d", "U+200D ZERO WIDTH JOINER"),
        ("\ufeffa", "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("a\u2060", "U+2060 WORD JOINER"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\u2066b", "U+2066 LEFT-TO-RIGHT ISOLATE"),
        ("a\u00a0b", "U+00A0 NO-BREAK SPACE"),
        ("a\u3000b", "U+3000 IDEOGRAPHIC SPACE"),
        ("a\u2028b", "U+2028 LINE SEPARATOR"),
        ("a\u00adb", "U+00AD SOFT HYPHEN"),
        ("a\u3164", "U+3164 HANGUL FILLER"),
        ("a\u034f", "U+034F COMBINING GRAPHEME JOINER"),
        ("a\U000e0041", "U+E0041 TAG LATIN CAPITAL LETTER A"),
    ],
)
def test_invisible_characters(experiment_id, character):
    """They are refused in new ids; old ids with them stay valid."""
    assert invisible_character(experiment_id) == character
    assert character in new_id_problem(experiment_id)
    assert experiment_id_problem(experiment_id) is None


@pytest.mark.parametrize("experiment_id", ["run 1", "실험 1", "naïve", "😀", "e\u0301", "❤\ufe0f"])
def test_visible_characters(experiment_id):
    assert invisible_character(experiment_id) is None
    assert new_id_problem(experiment_id) is None


@given(st.text())
def test_forms_of_a_name(text):
    assert forms(text)[0] == text
    assert {canonical(form) for form in forms(text)} == {canonical(text)}
    assert canonical(text) in forms(text)
    assert len(forms(text)) == len(set(forms(text))) <= 3


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
