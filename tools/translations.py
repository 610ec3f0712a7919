"""Bring the catalogues of backend/web/languages up to date with the texts of the program.

    python -m tools.translations           # add new texts, remove those that are gone
    python -m tools.translations --check   # change nothing; exit code 1 if a translation is missing

Texts are taken from templates (`_`, `ngettext`), scripts (`t`), views (`gettext`, `marked`), the
entries of our own models, and sentences: every string in the floors below the web, and in the web,
that is prose and is not for the log, for the command line or for the OpenAPI document.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import polib
import yaml
from jinja2 import Environment
from jinja2.ext import GETTEXT_FUNCTIONS, extract_from_ast

from backend.domain.catalogue import CONTRACT
from backend.domain.execution.priority import Priority
from backend.domain.objective import WarningCode
from backend.domain.status import Status
from backend.domain.sweeps.sweep import SweepStatus
from backend.web.languages.catalogue import ENGLISH, LANGUAGES, path_of

ROOT = Path(__file__).parents[1]
WEB = ROOT / "backend" / "web"
REASONS = ROOT / "docs" / "operations.md"  # all reasons of diagnoses are there
TEXT_CALLS = {"gettext", "marked"}
_CODES = ("adopted", "cancelling", "number", "text")  # beside enumerations and diagnoses
_STATUSES = (400, 401, 403, 404, 405, 409, 412, 415, 421, 429, 500, 502, 503, 507)
_LIBRARIES = (  # of marshmallow, Werkzeug and Python
    "Field may not be null.",
    "Invalid input type.",
    "Invalid value.",
    "Length must be between {min} and {max}.",
    "Longer than maximum length {max}.",
    "Missing data for required field.",
    "Must be greater than or equal to {min}.",
    "Must be greater than or equal to {min} and less than or equal to {max}.",
    "Must be less than or equal to {max}.",
    "Must be one of: {choices}.",
    "Not a valid boolean.",
    "Not a valid datetime.",
    "Not a valid integer.",
    "Not a valid list.",
    "Not a valid number.",
    "Not a valid string.",
    "Shorter than minimum length {min}.",
    "The browser (or proxy) sent a request that this server could not understand.",
    "The method is not allowed for the requested URL.",
    "The server cannot provide the requested range.",
    "Unknown field.",
    # The phrases of HTTP that differ between versions of Python.
    "Content Too Large",
    "Range Not Satisfiable",
    "Request Entity Too Large",
    "Requested Range Not Satisfiable",
    "Unprocessable Content",
    "Unprocessable Entity",
)
_SCRIPT_TEXT = re.compile(r"""\bt\(\s*"((?:[^"\\]|\\.)*)\"""")
_REASON = re.compile(r"`([a-z_]+)`")
_WORDS = re.compile(r"\b[Aa]\b|[A-Za-z][a-z]+")
# What nobody asks for in a language: the command line, settings, the log, other programs.
_NO_SENTENCES = (
    *("__main__.py", "app.py", "roles.py", "serve.py", "settings.py", "gunicorn_config.py"),
    *("tokens.py", "domain/timestamps.py", "domain/webhooks", "store/migrations"),
    *("store/schema.py", "store/mysql.py", "store/pages.py", "store/queries.py"),
    *("experiments/rebuild.py", "experiments/run_file.py", "experiments/archive.py"),
    *("experiments/reconciler.py", "experiments/reconciling", "experiments/webhooks"),
    *("files/locks.py", "launchers/owner.py", "launchers/local/runner.py"),
    "launchers/local/gang_runner.py",
    *("launchers/preflight", "launchers/kubernetes/preflight.py", "launchers/local/warm_"),
    *("launchers/local/programs.py", "launchers/kubernetes/watch.py", "sweeps/rebuild.py"),
    *("sweeps/sweep_file.py", "web/openapi.py", "web/openapi_models.py", "web/telemetry.py"),
    *("web/worker/poller.py", "web/worker/orphans.py", "web/shared_counts.py"),
    *("web/slow_clients.py", "web/host_headers.py"),
    *("web/languages/", "web/routes/docs.py", "web/routes/hello.py", "web/routes/downloads.py"),
    *("web/routes/__init__.py", "sweeps/plan.py", "launchers/kubernetes/api.py"),
    *("launchers/kubernetes/metrics_api", "launchers/local/gpus.py"),
)
_NO_ARGUMENTS = {"description", "summary", "example", "responses", "metadata"}
_NO_CALLS = {"compile", "search", "sub", "fullmatch", "match", "getLogger", "text"}
_NO_PROSE = re.compile(  # headers, patterns, and what the contract promises word for word
    r"'(none|self)'|^(Bearer|Link|Retry-After:|HTTP/1.1|--form-string|-H) "
    r"|(charset|filename|rel|error)=|max-age=|\\[Snd(.]"
    r"|^(data|event|id): |[a-z]\|[a-z]|^(exceeded quota|Could not decode|volume node)"
    r"|^rank-|^(Job|Sweep) (Created|Started|A[lc])|^(Hello|noopener|Insufficient) "
)


class Texts:
    """The texts of the program, each with the files that it is in."""

    def __init__(self) -> None:
        """Begin without any."""
        self.places = dict[str, set[str]]()
        self.plurals = dict[str, str]()

    def add(self, text: str, path: Path) -> None:
        """Add a text of a file."""
        self.places.setdefault(text, set()).add(str(path.relative_to(ROOT)))


def extract() -> Texts:
    """Return every text of the program."""
    texts = Texts()
    for path in sorted((WEB / "templates").rglob("*.html")):
        for text, plural in template_texts(path.read_text()):
            texts.add(text, path)
            if plural:
                texts.plurals[text] = plural
    for path in sorted((WEB / "static").rglob("*.js")):
        if "vendor" in path.parts:
            continue
        for found in _SCRIPT_TEXT.finditer(path.read_text()):
            texts.add(found[1], path)
    for path in sorted((ROOT / "backend").rglob("*.py")):
        tree = ast.parse(path.read_text())
        name = str(path.relative_to(ROOT / "backend"))
        for text in _Sentences(tree, prose=not name.startswith(_NO_SENTENCES)).found:
            texts.add(text, path)
    for text in _descriptions(CONTRACT):
        texts.add(text, ROOT / "backend" / "domain" / "catalogue.py")
    for path in sorted((ROOT / "models").glob("*/model.yaml")):
        for text in _descriptions(yaml.safe_load(path.read_text())):
            texts.add(text, path)
    for code in (*Status, *SweepStatus, *Priority, *WarningCode, *_CODES):
        texts.add(code.removeprefix("objective_").replace("_", " "), Path(__file__))
    for sentence in (*_LIBRARIES, *(HTTPStatus(code).phrase for code in _STATUSES)):
        texts.add(sentence, Path(__file__))
    for code in _REASON.findall(REASONS.read_text().partition("## Reasons")[2]):
        if code not in ("message", "remedy"):
            texts.add(code.replace("_", " "), REASONS)
    return texts


def template_texts(source: str) -> Iterator[tuple[str, str | None]]:
    """Yield the texts of a template, each with its plural if it depends on a number."""
    tree = Environment(extensions=["jinja2.ext.i18n"]).parse(source)  # noqa: S701
    for _, function, found in extract_from_ast(tree, GETTEXT_FUNCTIONS):
        texts = [found] if isinstance(found, str) else [text for text in found or () if text]
        yield texts[0], texts[1] if function == "ngettext" else None


def _descriptions(entry: Any) -> Iterator[str]:
    """Yield the description of an entry, and those of its parameters with their units."""
    if isinstance(entry, dict):
        for key, value in entry.items():
            if key in ("description", "x-unit") and isinstance(value, str):
                yield value
            else:
                yield from _descriptions(value)


class _Sentences(ast.NodeVisitor):
    """Collects the texts of a module: marked ones and sentences."""

    def __init__(self, tree: ast.Module, *, prose: bool) -> None:
        self.prose = prose
        self.found: list[str] = []
        self.visit(tree)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Leave out docstrings."""
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Leave out decorators and annotations."""
        for one in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(one)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Leave out annotations."""
        if node.value:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        """Take marked texts; leave out what is for the log or for a document."""
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = getattr(getattr(node.func, "value", None), "id", "")
        first = node.args[0] if node.args else None
        if name in TEXT_CALLS and isinstance(first, ast.Constant):
            self.found.append(str(first.value))
        if owner in ("log", "logging") or name in _NO_CALLS or name in TEXT_CALLS:
            return
        self.visit(node.func)
        for one in node.args:
            self.visit(one)
        for keyword in node.keywords:
            if keyword.arg not in _NO_ARGUMENTS:
                self.visit(keyword.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        """Leave out descriptions of schemas."""
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Call):
                self.visit(key)
            if getattr(key, "value", None) not in _NO_ARGUMENTS:
                self.visit(value)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Take a sentence without values."""
        if isinstance(node.value, str):
            self._add(node.value, is_template=False)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Take a sentence with values: its places are numbered."""
        text, places = "", 0
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value).replace("{", "{{").replace("}", "}}")
            else:
                text += f"{{{places}}}"
                places += 1
                self.visit(part)
        self._add(text, is_template=True)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        """Take the clauses of which one is put into a place."""
        self.visit(node.value)

    def _add(self, text: str, *, is_template: bool) -> None:
        words = _WORDS.findall(re.sub(r"\{\w*\}", " ", text))
        is_prose = len(words) >= (1 if is_template else 2) and " " in text.strip()
        if self.prose and is_prose and not _NO_PROSE.search(text):
            self.found.append(text)


def update(language: str, texts: Texts) -> polib.POFile:
    """Return the catalogue of a language with exactly these texts; translations are kept."""
    path = path_of(language)
    known = polib.pofile(str(path)) if path.exists() else polib.POFile()
    before = {entry.msgid: entry for entry in known}
    catalogue = polib.POFile(wrapwidth=100)
    catalogue.metadata = {
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": "nplurals=1; plural=0;",
    }
    for text, places in sorted(texts.places.items(), key=lambda one: (min(one[1]), one[0])):
        entry = before.get(text) or polib.POEntry(msgid=text)
        entry.occurrences = [(place, "") for place in sorted(places)]
        if text in texts.plurals:
            entry.msgid_plural = texts.plurals[text]
            entry.msgstr_plural = entry.msgstr_plural or {0: ""}
        catalogue.append(entry)
    return catalogue


def main() -> int:
    """Update or check the catalogues; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    is_check = parser.parse_args().check
    texts, exit_code = extract(), 0
    for language in LANGUAGES:
        if language == ENGLISH:
            continue
        catalogue = update(language, texts)
        missing = [entry.msgid for entry in catalogue if not entry.translated()]
        if not is_check:
            catalogue.save(str(path_of(language)))
        for text in missing:
            print(f"{language}: {text!r} is not translated")
            exit_code = 1
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
