"""Translates sentences whose values are filled in already. Pure.

A template such as `There is no experiment {0}.` is matched by its fixed parts, from left to right,
without regular expressions: the time grows with the length of the sentence only, whatever a client
or a trainer has put into it.
"""

import re
from collections.abc import Mapping
from string import Formatter
from typing import NamedTuple

MAX_CHARACTERS = 8000  # longer texts stay as they are
MAX_DEPTH = 4  # of sentences within sentences
WEAK = 10  # characters that determine too little of a sentence, as in `{0} or {1}`
MAX_CLAUSE = 100  # characters of a clause, which such a template may match
_END = re.compile(r"(?<=[.:]) (?=\S)")  # between two sentences
_STOP = re.compile(r"[.:;](\s|$)")  # in a sentence, not in a clause
_WORD = re.compile(r"[a-z]{2,}")


class Template(NamedTuple):
    """A sentence with places for values.

    Attributes:
        fixed: the texts around the places, of which there is one fewer.
        names: what the places are called in the translation.
        translation: texts, each with the name of the value that follows it; None after the last.
    """

    fixed: tuple[str, ...]
    names: tuple[str, ...]
    translation: tuple[tuple[str, str | None], ...]

    @property
    def weight(self) -> int:
        """How much of a sentence the template determines, in characters."""
        return sum(map(len, self.fixed))

    @property
    def _is_weak(self) -> bool:
        return not self.fixed[0] and self.weight <= WEAK and ":" not in self.fixed[1]

    def values(self, sentence: str) -> dict[str, str] | None:
        """Return the values that the template was filled with, or None if it was another one."""
        first, last = self.fixed[0], self.fixed[-1]
        if len(sentence) < self.weight or not sentence.endswith(last):
            return None
        if not sentence.startswith(first) or (self._is_weak and not _is_clause(sentence)):
            return None
        found, begin, end = dict[str, str](), len(first), len(sentence) - len(last)
        for name, text in zip(self.names, self.fixed[1:-1], strict=False):
            at = sentence.find(text, begin, end)
            if at < 0:
                return None
            found[name] = sentence[begin:at]
            begin = at + len(text)
        return found | {self.names[-1]: sentence[begin:end]}


class Sentences:
    """Translations of sentences, with or without places for values."""

    def __init__(self, translations: Mapping[str, str]) -> None:
        """Take the translations by their English, where `{0}` or `{name}` is a place."""
        self._whole = dict[str, str]()
        self._by_start = dict[str, list[Template]]()
        for text, translation in translations.items():
            fixed, names = _parts(text)
            if not names:
                self._whole[fixed[0]] = _parts(translation)[0][0]
            elif _WORD.search("".join(fixed)):
                pieces = tuple(
                    (piece, name) for piece, name, _, _ in Formatter().parse(translation)
                )
                template = Template(fixed, names, pieces)
                self._by_start.setdefault(_start(fixed[0]), []).append(template)
        for templates in self._by_start.values():
            templates.sort(key=lambda one: -one.weight)

    def translated(self, sentence: str) -> str:
        """Return a sentence, or several one after the other, in the other language.

        What has no translation stays as it is.
        """
        if len(sentence) > MAX_CHARACTERS:
            return sentence
        return self._translated(sentence, MAX_DEPTH) or sentence

    def _translated(self, sentence: str, depth: int) -> str | None:
        found = self._whole.get(sentence)
        if found is not None or not depth or not _WORD.search(sentence):
            return found
        matched = self._match(sentence)
        if matched is None:
            return self._each(sentence, depth)
        template, values = matched
        inner = {name: self._translated(text, depth - 1) or text for name, text in values.items()}
        return "".join(text + (inner[name] if name else "") for text, name in template.translation)

    def _match(self, sentence: str) -> tuple[Template, dict[str, str]] | None:
        """Return the template of a sentence and its values.

        The one with the most fixed text counts. Of those that begin with a value it is the one
        that leaves least at the end: the clause after a sentence is its outermost one.
        """
        start = _start(sentence)
        for template in self._by_start.get(start, ()) if start else ():
            values = template.values(sentence)
            if values is not None:
                return template, values
        found = [
            (template, values)
            for template in self._by_start.get("", ())
            if (values := template.values(sentence)) is not None
        ]
        return min(found, key=lambda one: len(one[1][one[0].names[-1]]), default=None)

    def _each(self, text: str, depth: int) -> str | None:
        """Return several sentences, each of them translated; None if none of them is known."""
        parts = _END.split(text)
        if len(parts) < 2:
            return None
        found = [self._translated(part, depth - 1) for part in parts]
        if not any(found):
            return None
        return " ".join(new or old for new, old in zip(found, parts, strict=True))


def _is_clause(text: str) -> bool:
    return len(text) <= MAX_CLAUSE and _STOP.search(text) is None


def _start(text: str) -> str:
    """Return the first word of a text if it is complete, which most templates differ in."""
    word, space, _ = text.partition(" ")
    return word if space else ""


def _parts(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fixed parts of a text and the names of the places between them."""
    fixed, names = [""], []
    for literal, name, _, _ in Formatter().parse(text):
        fixed[-1] += literal
        if name is not None:
            names.append(name)
            fixed.append("")
    return tuple(fixed), tuple(names)
