"""The page of measurements: the text between its markers is generated. Pure.

    <!-- figures: NAME -->
    ...
    <!-- end of figures -->

Everything outside the markers is written by hand, and kept.
"""

import re
from collections.abc import Iterable, Sequence

from bench.figures import Growth, Row

COLUMNS = ("measurement", "ours", "compared with", "ratio", "goal", "met")


class MarkerMissing(Exception):
    """The page has no markers for a section; the message says what to write into it."""


def replaced(page: str, name: str, content: str) -> str:
    """Return the page with new content between the markers of a section.

    Raises:
        MarkerMissing: the page has no such markers.
    """
    begin, end = f"<!-- figures: {name} -->\n", "<!-- end of figures -->"
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", page, re.DOTALL)
    if found is None:
        raise MarkerMissing(f"The page has no place for {name}: write {begin}{end} into it.")
    return page[: found.start()] + begin + content + end + page[found.end() :]


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row of the table."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = {True: "yes", False: "**no**", None: ""}[row.met]
    return row.what, row.ours, row.limit, ratio, row.goal, met


def section(rows: Sequence[Row], growths: Iterable[Growth], taken: str) -> str:
    """Return a section as Markdown: the table, the plots, and how and when it was taken."""
    lines = []
    if rows:
        lines += [_line(COLUMNS), "|" + "---|" * len(COLUMNS)]
        lines += [_line(cells(row)) for row in rows]
        lines.append("")
    for growth in growths:
        lines += [f"![{growth.title}](growth/{growth.name}.png)", ""]
    return "\n".join([*lines, taken, ""])


def _line(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
