import re
from html.parser import HTMLParser
from string import Formatter

import polib
import pytest

from backend.web.languages.catalogue import ENGLISH, LANGUAGES, path_of
from tools.translations import WEB, extract, template_texts

OTHERS = [code for code in LANGUAGES if code != ENGLISH]
TEMPLATES = sorted((WEB / "templates").rglob("*.html"))
SCRIPTS = sorted(
    {path for path in (WEB / "static").rglob("*.js") if "vendor" not in path.parts}
    - {WEB / "static" / "docs.js"}
)  # in English
NAMES = {"hello-flask", "API", "CSV", "SHA-256", "UTC"}
SHOWN_ATTRIBUTES = {"title", "placeholder", "alt", "aria-label"}
_PERCENT_PLACE = re.compile(r"%\((\w+)\)s")


@pytest.fixture(scope="module")
def texts():
    return extract()


@pytest.fixture(scope="module", params=OTHERS)
def language_catalogue(request):
    return polib.pofile(str(path_of(request.param)))


def places(text):
    """Return the places of a text for values, in any order."""
    if "%(" in text:
        return sorted(_PERCENT_PLACE.findall(text))
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


def test_catalogue_holds_the_texts_of_the_program(texts, language_catalogue):
    known = {entry.msgid for entry in language_catalogue if not entry.obsolete}

    assert texts.places.keys() - known == set(), "run python -m tools.translations, and translate"
    assert known - texts.places.keys() == set(), "run python -m tools.translations"


def test_every_text_is_translated(language_catalogue):
    assert [entry.msgid for entry in language_catalogue if not entry.translated()] == []
    assert language_catalogue.fuzzy_entries() == []
    assert language_catalogue.obsolete_entries() == []


def test_translations_have_the_same_places(texts, language_catalogue):
    for entry in language_catalogue:
        for translation in entry.msgstr_plural.values() if entry.msgid_plural else [entry.msgstr]:
            assert places(translation) == places(entry.msgid_plural or entry.msgid), entry.msgid
        assert entry.msgid_plural == texts.plurals.get(entry.msgid, "")


def test_edges_of_translations_are_those_of_the_texts(language_catalogue):
    for entry in language_catalogue:
        if entry.msgid.endswith(" "):
            assert entry.msgstr.endswith(" "), entry.msgid


def test_page_texts_escape_percent_signs(language_catalogue):
    for entry in language_catalogue:
        if any(place.endswith(".html") for place, _ in entry.occurrences):
            for translation in entry.msgstr_plural.values() or [entry.msgstr]:
                assert "%" not in _PERCENT_PLACE.sub("", translation).replace("%%", "")


class Literals(HTMLParser):
    """Collects what a page would show whatever its language."""

    def __init__(self, source):
        super().__init__()
        self.found, self._inside = [], ""
        source = re.sub(r"\{% block (page|module) %\}.*?\{% endblock %\}", "", source)
        self.feed(re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL))

    def _add(self, text):
        words = re.findall(r"[A-Za-z][\w-]+", text)
        self.found += [word for word in words if word not in NAMES]

    def handle_starttag(self, tag, attributes):
        self._inside = tag
        for name, value in attributes:
            if name in SHOWN_ATTRIBUTES and value:
                self._add(value)

    def handle_data(self, data):
        if self._inside not in ("style", "script"):
            self._add(data)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_no_text_outside_gettext(path):
    assert Literals(path.read_text()).found == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_texts_in_expressions_of_templates_go_through_gettext(path):
    expressions = re.findall(r"\{[{%](.*?)[%}]\}", path.read_text(), flags=re.DOTALL)
    marked = {text for text, _ in template_texts(path.read_text())}
    marked |= {plural for _, plural in template_texts(path.read_text()) if plural}
    for expression in expressions:
        for text in re.findall(r'"([^"]*)"', expression):
            if re.search(r"^[^<]*[A-Za-z]{2,} [a-z]|^[A-Z][a-z]+$", text):
                assert text in marked, text


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_have_no_text_outside_the_catalogue(path):
    source = re.sub(r"^\s*(//|\*|/\*).*$|\s// .*$", "", path.read_text(), flags=re.MULTILINE)
    source = re.sub(r"\bt\(\s*\"(?:[^\"\\]|\\.)*\"", "t(", source)
    texts = re.findall(r"\"((?:[^\"\\\n]|\\.)*)\"", source)
    texts += re.findall(r"`((?:[^`\\]|\\.)*)`", source)
    prose = re.compile(r"^[A-Z][a-z]+ [a-z]|[a-z]{2,} [a-z]{2,} [a-z]")

    assert [text for text in texts if prose.search(text)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_what_translates(path):
    source = path.read_text()
    uses = re.search(r"(?<![\w.])t\(\s*\"", source) is not None

    assert uses == bool(
        re.search(r'^import \{ t \} from "\.{1,2}/texts\.js";$', source, re.MULTILINE)
    )


def test_template_texts_finds_texts_and_plurals():
    source = '{{ _("One") }}<b>{% trans %}x{% endtrans %}</b>'
    source += '{{ ngettext("%(n)s file", "%(n)s files", 2, n=2) }}'

    assert list(template_texts(source)) == [
        ("One", None),
        ("x", None),
        ("%(n)s file", "%(n)s files"),
    ]
