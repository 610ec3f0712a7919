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
WEAK = 12  # characters that determine too little of a longer text, as in `{0} or {1}`
MAX_WEAK = 100  # characters of a text that such a template may match
_END = re.compile(r"(?<=[.:]) (?=\S)")  # between two sentences
_WORD = re.compile(r"[a-z]{2,}")


class Template(NamedTuple):
    """A sentence with places for values.

    Attributes:
        fixed: the texts around the places, of which there is one fewer.
        names: what the places are called in the translation.
        translation: where `{name}` stands for a value.
    """

    fixed: tuple[str, ...]
    names: tuple[str, ...]
    translation: str

    @property
    def weight(self) -> int:
        """How much of a sentence the template determines, in characters."""
        return sum(map(len, self.fixed))

    def values(self, sentence: str) -> dict[str, str] | None:
        """Return the values that the template was filled with, or None if it was another one."""
        first, last = self.fixed[0], self.fixed[-1]
        is_weak = not first and self.weight <= WEAK
        if len(sentence) < self.weight or (is_weak and len(sentence) > MAX_WEAK):
            return None
        if not sentence.endswith(last):
            return None
        if not sentence.startswith(first):
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
                template = Template(fixed, names, translation)
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
        matches = (self._match(start, sentence) for start in (_start(sentence), ""))
        best = max(filter(None, matches), key=lambda one: one[0].weight, default=None)
        if best is None:
            return self._each(sentence, depth)
        template, values = best
        inner = {name: self._translated(text, depth - 1) for name, text in values.items()}
        return template.translation.format_map(
            {name: inner[name] or text for name, text in values.items()}
        )

    def _match(self, start: str, sentence: str) -> tuple[Template, dict[str, str]] | None:
        for template in self._by_start.get(start, ()):
            values = template.values(sentence)
            if values is not None:
                return template, values
        return None

    def _each(self, text: str, depth: int) -> str | None:
        """Return several sentences, each of them translated; None if none of them is known."""
        parts = _END.split(text)
        if len(parts) < 2:
            return None
        found = [self._translated(part, depth - 1) for part in parts]
        if not any(found):
            return None
        return " ".join(new or old for new, old in zip(found, parts, strict=True))


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
