"""Tags, notes and favourites."""

import pytest

from backend.domain.annotations.changes import MAX_TAGS, AnnotationChange, Annotations, TooManyTags
from backend.domain.annotations.rules import note_problem, plain_lines, tag_problem

CURRENT = Annotations(("a", "b"), "note", favourite=False, revision=3)


def test_changes():
    assert AnnotationChange().apply(CURRENT) is CURRENT
    assert AnnotationChange(added=("a",), removed=("c",)).apply(CURRENT) is CURRENT
    assert AnnotationChange(added=("가", "0")).apply(CURRENT).tags == ("0", "a", "b", "가")
    assert AnnotationChange(removed=("a",)).apply(CURRENT).tags == ("b",)
    changed = AnnotationChange(tags=("c", "c"), note="", favourite=True).apply(CURRENT)
    assert changed == Annotations(("c",), "", favourite=True, revision=4)


def test_too_many_tags():
    full = tuple(f"{number:02}" for number in range(MAX_TAGS))
    assert AnnotationChange(tags=full).apply(CURRENT).tags == full
    with pytest.raises(TooManyTags, match=f"at most {MAX_TAGS} tags, and this would be 51"):
        AnnotationChange(added=("more",)).apply(Annotations(full))
    assert len(AnnotationChange(removed=("00",)).apply(Annotations((*full, "x"))).tags) == MAX_TAGS


@pytest.mark.parametrize("tag", ["a", "좋은 씨앗", "lr<0.1", "v1.2", "a" * 50, "#7 🙂"])
def test_tags(tag):
    assert tag_problem(tag) is None


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("", "1 to 50"),
        ("a" * 51, "this has 51"),
        ("a/b", "'/'"),
        ("a,b", "','"),
        ("..", "begin with '.'"),
        (" a", "a space"),
        ("a ", "a space"),
        ("a\nb", "control"),
        ("a\u200b", "U+200B"),
        ("a\u00a0b", "U+00A0"),
        ("\ud800", "UTF-8"),
    ],
)
def test_texts_that_are_no_tags(tag, words):
    assert words in tag_problem(tag)


def test_notes():
    assert note_problem("# Title\n\n* a\tb") is None
    assert note_problem("가" * 16_000) is None
    assert "this has 16001" in note_problem("x" * 16_001)
    assert "control" in note_problem("a\x1b[31m")
    assert "surrogate" in note_problem("\udc00")
    assert plain_lines("a\r\nb\rc\n") == "a\nb\nc\n"
