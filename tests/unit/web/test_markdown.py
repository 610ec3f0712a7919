"""Notes as HTML that does no harm."""

import pytest

from backend.domain.annotations.rules import MAX_NOTE_CHARACTERS
from backend.web.views.markdown import note_html


def test_markdown():
    html = note_html("# Why\n\n* **a**\n\n| lr | loss |\n|---|---|\n| 0.1 | 3 |\n")

    for part in ("<h1>Why</h1>", "<li><strong>a</strong></li>", "<td>0.1</td>"):
        assert part in html


@pytest.mark.parametrize(
    "note",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='alert(1)'>b</b>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](java&#115;cript:alert(1))",
        "[a](vbscript:x)",
        "[a](data:text/html,<script>alert(1)</script>)",
        "<javascript:alert(1)>",
        '[a](https://x "\\" onclick=alert(1)")',
        "![a](https://elsewhere/x.png)",
        "![a](data:image/png;base64,xxxx)",
        "[a]: javascript:alert(1)\n\n[a]",
        "```js onclick=alert(1)\n</code><script>\n```",
    ],
)
def test_hostile_notes(note):
    html = note_html(note)

    tags = [part.partition(">")[0] for part in html.split("<")[1:]]
    for tag in tags:
        assert tag.split()[0].strip("/") in ("p", "a", "pre", "code")
        attributes = tag.partition('href="')
        assert "javascript:" not in attributes[2].lower()
        assert "data:" not in attributes[2]
    assert "<script" not in html
    assert "<img" not in html


def test_links_lead_away_without_a_trace():
    html = note_html("[a](https://example.com) <https://example.org>")

    assert html.count('rel="noopener nofollow"') == html.count("<a ") == 2


@pytest.mark.parametrize("text", ["[", "*", "> ", "`", "![](", "<a ", "* ", "|", "&", "\\", "_a*"])
def test_long_notes_of_one_kind_are_rendered(text):
    note = (text * MAX_NOTE_CHARACTERS)[:MAX_NOTE_CHARACTERS]
    assert note_html(note)
