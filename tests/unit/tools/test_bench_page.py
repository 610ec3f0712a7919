import pytest

from bench.figures import Growth, Row
from bench.page import MarkerMissing, replaced, section

PAGE = """# Words
<!-- figures: one -->
old
<!-- end of figures -->
more words
<!-- figures: two -->
<!-- end of figures -->
"""


def test_section_is_replaced():
    page = replaced(PAGE, "one", "new\n")

    assert page == PAGE.replace("old", "new")


def test_empty_section_is_filled():
    assert "<!-- figures: two -->\nnew\n<!-- end of figures -->\n" in replaced(PAGE, "two", "new\n")


def test_content_is_literal():
    assert r"\1 \g<0>" in replaced(PAGE, "one", r"\1 \g<0>")


def test_missing_marker():
    with pytest.raises(MarkerMissing, match="no place for three: write <!-- figures: three -->"):
        replaced(PAGE, "three", "new\n")


def test_section_layout():
    rows = [
        Row("one | two", "3 ms", "4 ms bare", 0.75, ">= 0.5", True),
        Row("three", "5 ms", goal="< 4 ms", met=False),
    ]
    growth = Growth("lists", "Lists", "rows", "ms", {"ours": [(1, 2)]})

    assert section(rows, [growth], "Taken today.") == (
        "| measurement | ours | compared with | ratio | goal | met |\n"
        "|---|---|---|---|---|---|\n"
        "| one \\| two | 3 ms | 4 ms bare | 0.75 | >= 0.5 | yes |\n"
        "| three | 5 ms |  |  | < 4 ms | **no** |\n"
        "\n"
        "![Lists](growth/lists.png)\n"
        "\n"
        "Taken today.\n"
    )
