"""Which texts can be a tag or a note. Pure functions."""

import unicodedata

from backend.domain.identifiers import invisible_character

MAX_TAG_CHARACTERS = 50
MAX_NOTE_CHARACTERS = 16_000  # of which each takes at most 4 bytes: MySQL's TEXT holds 65,535


def tag_problem(tag: str) -> str | None:
    """Return why a text cannot be a tag, or None if it can."""
    if not 1 <= len(tag) <= MAX_TAG_CHARACTERS:
        return f"must have 1 to {MAX_TAG_CHARACTERS} characters; this has {len(tag)}"
    categories = {unicodedata.category(character) for character in tag}
    if "Cs" in categories or "\N{REPLACEMENT CHARACTER}" in tag:
        return "is not UTF-8 text: it was sent in another encoding"
    if "Cc" in categories:
        return "must not contain control characters such as a line break, a tab or NUL"
    if invisible := invisible_character(tag):
        return f"contains {invisible}, which cannot be seen: remove it or use a plain space"
    if not {"/", "\\", ","}.isdisjoint(tag):
        return "must not contain '/', '\\' or ','"
    if tag.startswith((".", " ")) or tag.endswith(" "):
        return "must not begin with '.' or a space, nor end with a space"
    return None


def note_problem(note: str) -> str | None:
    """Return why a text cannot be a note, or None if it can."""
    if len(note) > MAX_NOTE_CHARACTERS:
        return f"must have at most {MAX_NOTE_CHARACTERS} characters; this has {len(note)}"
    categories = {unicodedata.category(one) for one in note if one not in "\n\t"}
    if "Cs" in categories:
        return "contains half of a surrogate pair, which is not a character"
    if "Cc" in categories:
        return "must not contain control characters other than line breaks and tabs"
    return None


def plain_lines(text: str) -> str:
    """Return a text whose lines end with a line feed, as browsers do not send them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
