"""Notes as HTML that is safe whatever a note holds."""

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_SCHEME = re.compile(r"[\x00-\x20]*([^/?#:]*):")
MAX_NESTING = 20  # of lists, quotes and emphasis


def note_html(note: str) -> Markup:
    """Return a note as HTML. HTML in the note stays text, images become links."""
    return Markup(_renderer().render(note))  # noqa: S704  (rendered without HTML of its own)


@cache
def _renderer() -> "MarkdownIt":
    # Imported with the first note: a server without notes need not hold it in memory.
    from markdown_it import MarkdownIt

    options = {"html": False, "linkify": False, "maxNesting": MAX_NESTING}
    markdown = MarkdownIt("js-default", options).disable("image")
    markdown.validateLink = _is_harmless  # type: ignore[method-assign]
    markdown.add_render_rule("link_open", _link_open)
    return markdown


def _is_harmless(url: str) -> bool:
    """Return whether a link leads to a page, here or elsewhere, or to a mail program."""
    scheme = _SCHEME.match(url)
    return scheme is None or scheme[1].lower() in ("http", "https", "mailto")


def _link_open(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("rel", "noopener nofollow")
    text: str = self.renderToken(tokens, index, options, env)
    return text
