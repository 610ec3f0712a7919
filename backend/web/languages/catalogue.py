"""The translations of one language, read from its gettext catalogue at the first use."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backend.web.languages.sentences import Sentences

FOLDER = Path(__file__).parent
ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "ko": "한국어"}  # by their codes, each in itself


@dataclass(frozen=True)
class Catalogue:
    """The translations of one language, by their English.

    Attributes:
        texts: of pages.
        plurals: of texts that depend on a number, by the singular; in the order of plural forms.
        scripts: of the scripts of pages.
        sentences: of errors, diagnoses and warnings.
    """

    texts: Mapping[str, str]
    plurals: Mapping[str, tuple[str, ...]]
    scripts: Mapping[str, str]
    sentences: Sentences


def path_of(language: str) -> Path:
    """Return the file of a language's catalogue."""
    return FOLDER / f"{language}.po"


@cache
def catalogue(language: str) -> Catalogue:
    """Return the catalogue of a language of LANGUAGES; English has an empty one."""
    if language == ENGLISH:
        return Catalogue({}, {}, {}, Sentences({}))
    import polib  # not before somebody asks for another language than English

    known = [entry for entry in polib.pofile(str(path_of(language))) if entry.translated()]
    plurals, texts, scripts, sentences = {}, {}, {}, {}
    for entry in known:
        kinds = {Path(place).suffix for place, _ in entry.occurrences}
        if entry.msgid_plural:
            plurals[entry.msgid] = tuple(text for _, text in sorted(entry.msgstr_plural.items()))
            continue
        if kinds - {".js"}:
            texts[entry.msgid] = entry.msgstr
        if ".js" in kinds:
            scripts[entry.msgid] = entry.msgstr
        if kinds & {".py", ".yaml"}:
            sentences[entry.msgid] = entry.msgstr
    return Catalogue(texts, plurals, scripts, Sentences(sentences))
