"""Consistency of the documentation: links, settings, and Korean pages beside English ones."""

import ast
import re
from pathlib import Path

import pytest

from backend.settings import read

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "docs/ko", "input")
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]
TWINS = [("README.md", "README.ko.md")] + [
    (f"docs/{page.name}", f"docs/ko/{page.name}") for page in sorted((ROOT / "docs/ko").glob("*"))
]
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
COMMENT = re.compile(r"(^|\s+)#.*")


def prose(page):
    return FENCED.sub("", page.read_text())


def anchors(page):
    """Return the anchors that GitHub derives from a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for _, heading in HEADING.findall(prose(page))
    }


def is_good(link, page):
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def outline(name):
    """Return the levels of a page's headings, in order."""
    return [len(signs) for signs, _ in HEADING.findall(prose(ROOT / name))]


def commands(name):
    """Return the lines of a page's code blocks without comments, which may be translated."""
    blocks = FENCED.findall((ROOT / name).read_text())
    return [[COMMENT.sub("", line) for line in block.splitlines()] for block in blocks]


def keys(name):
    """Return the code in the first cell of each table row."""
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / name).read_text(), re.MULTILINE)
    return [re.findall(r"`[^`]+`", row) for row in rows]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    links = [link for link in LINK.findall(prose(page)) if "://" not in link]

    assert [link for link in links if not is_good(link, page)] == []


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_readme_is_short(readme):
    text = (ROOT / readme).read_text()

    assert len(text.splitlines()) <= 150
    assert text.count("![") == 1


@pytest.mark.parametrize(("english", "korean"), TWINS)
def test_korean_has_the_same_commands(english, korean):
    assert outline(korean) == outline(english)
    assert commands(korean) == commands(english)
    assert keys(korean) == keys(english)


@pytest.mark.parametrize("page", ["docs/settings.md", "docs/ko/settings.md"])
def test_every_setting_is_documented(page):
    """The table lists exactly the variables that the settings read."""
    _, variables = read({})
    table = re.findall(r"^\| `([A-Z_]+)`", (ROOT / page).read_text(), flags=re.MULTILINE)

    assert set(table) == {name for name in variables if not name.endswith("_FILE")}


def test_every_reason_is_documented():
    reasons = {
        call.args[0].value
        for module in (ROOT / "backend").rglob("*.py")
        for call in ast.walk(ast.parse(module.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "Diagnosis"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    table = (ROOT / "docs/operations.md").read_text().partition("## Reasons\n")[2]

    assert len(reasons) > 10
    assert reasons - set(re.findall(r"`(\w+)`", table)) == set()


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/ko/operations.md"])
def test_quoted_messages_exist(page):
    """Messages that the troubleshooting table quotes occur in the source."""
    source = "".join(module.read_text() for module in (ROOT / "backend").rglob("*.py"))
    quoted = re.findall(r"`(?:error: )?(The [\w ]+)", (ROOT / page).read_text())

    assert len(quoted) >= 3
    assert [message for message in quoted if message.strip() not in source] == []


def test_security_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+\.py)`", (ROOT / "SECURITY.md").read_text()))

    assert named
    assert named - {path.name for path in (ROOT / "tests").rglob("test_*.py")} == set()
