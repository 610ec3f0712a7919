"""Charts and previews of what trainers write: labels are whole, epochs are whole, nothing hangs."""

import csv
import io
import json
import math
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from tests.browser.support import drag

CURVES = {
    "tiny": [1.1e-7, 1.05e-7, 1.02e-7, 1e-7, 0.9e-7],
    "negative": [-1, -2.5, -3, -3.1, -3.2],
    "constant": [0.25] * 5,
    "zero": [0] * 5,
    "single": [0.25],
    "gaps": [1, None, 0.5, math.nan, 0.25],
    "exploded": [2.86e17, 7.6e11, 3e5, 0.5, 0.4],
    "extreme": [1e300, -1e300, 1e290, 1, 2],
    "smallest": [1e-300, 2e-300, 1e-301],
    "millions": [1234567, 1234568, 1234569, 1234570, 1234571],
    "nothing": [math.nan] * 3,
}
# The labels that uPlot draws are pixels: what it is told to draw is recorded, with where it begins.
RECORD = """
window.drawn = [];
const original = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const { width } = this.measureText(text);
  const left = { right: x - width, end: x - width, center: x - width / 2 }[this.textAlign] ?? x;
  window.drawn.push({ text, left, align: this.textAlign });
  original.apply(this, arguments);
};
"""

# The policy of the pages allows no expression to be evaluated, which waiting for one would do.
HAS_DRAWN = "() => window.drawn.length > 0"


@pytest.fixture(scope="module")
def drawn_experiment(server):
    """The id of an experiment whose metrics are replaced."""
    server.submit("drawn", learning_rate=0.001, epoch=1)
    server.until_ended("drawn")
    server.write_samples("drawn")  # none, whose labels would be drawn, too
    return "drawn"


def write(server, values):
    rows = [
        {"epoch": epoch} | ({} if value is None else {"loss": value})
        for epoch, value in enumerate(values, 1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (server.output_dir / "drawn" / "metrics.jsonl").write_text(text)


def labels(page, align):
    """Return the labels of the epochs (center) or of the values (right) that were drawn last."""
    drawn = page.evaluate("window.drawn")
    assert all(label["left"] >= 0 for label in drawn), drawn
    return [label["text"] for label in drawn if label["align"] == align and label["text"]]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("log", [False, True])
def test_labels(page, server, drawn_experiment, name, log):
    write(server, CURVES[name])
    page.add_init_script(RECORD)
    page.goto("/ui/experiments/drawn")
    possible = [value for value in CURVES[name] if value is not None and not math.isnan(value)]
    if log:
        page.locator("#chart .u-over, .panel > p:visible").first.wait_for()
        page.evaluate("window.drawn = []")
        page.get_by_label("log axis").check()
        possible = [value for value in possible if value > 0]
    if not possible:
        expect(page.locator("#chart .panel > p")).to_contain_text(
            "only values above 0" if log else "no finite value"
        )
        return

    expect(page.locator("#chart .u-over")).to_be_visible()
    page.wait_for_function(HAS_DRAWN)
    epochs, values = labels(page, "center"), labels(page, "right")
    assert epochs
    assert all(label.isdecimal() for label in epochs), epochs
    if not log and name not in ("extreme", "smallest"):
        assert len(values) > 2, values
        numbers = [float(label) for label in values]
        steps = [after - before for before, after in pairwise(numbers)]
        rising = [step for step in steps if step > 0]
        assert len(rising) >= len(steps) - 1, values  # it may have been drawn twice
        assert max(rising) == pytest.approx(min(rising), rel=0.01), values
    assert all(len(label) < 16 for label in values), values


def test_zoom_into_few_epochs_keeps_them_whole(page, server, drawn_experiment):
    write(server, [1 / epoch for epoch in range(1, 9)])
    page.add_init_script(RECORD)
    page.goto("/ui/experiments/drawn")
    plot = page.locator("#chart .u-over")
    plot.wait_for()
    page.evaluate("window.drawn = []")
    drag(page, plot, 0.3, 0.6)

    expect(page.get_by_role("button", name="Reset zoom")).to_be_enabled()
    page.wait_for_function(HAS_DRAWN)
    epochs = labels(page, "center")
    assert epochs
    assert all(label.isdecimal() for label in epochs), epochs


TABLES = {
    "plain": [["a", "b"], ["1", "2"]],
    "quoted": [["name", "a, b"], ['Kim, "Lee"', "x\ny"], ["", '"'], ["c,", ",d"], ['""', "\r\n"]],
    "one column": [["error"], ["0.5"], ["0.25"]],
    "empty cells": [["a", "b", "c"], ["", "", ""], ["1", "", ""]],
    "한글": [["이름", "값, 단위"], ["실험, 1", "3"]],
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_preview_of_a_csv_file(page, server, drawn_experiment, name, line_end):
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end).writerows(TABLES[name])
    path = server.output_dir / "drawn" / "preview.csv"
    path.write_bytes(b"\xef\xbb\xbf" * (name == "plain") + text.getvalue().encode())
    page.goto("/ui/experiments/drawn")
    figure = page.locator("figure", has_text="preview.csv")
    figure.locator("tbody tr").first.wait_for()

    shown = figure.locator("tr").evaluate_all(
        "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    assert shown == TABLES[name]


@pytest.mark.parametrize("content", ['"', '"never ends', "\n\n", ",,,", 'a"b",c\n"d"e,f'])
def test_preview_of_a_broken_csv_file(page, server, drawn_experiment, content):
    (server.output_dir / "drawn" / "preview.csv").write_text(content)
    page.goto("/ui/experiments/drawn")
    page.locator("figure", has_text="preview.csv").wait_for()

    expect(page.locator("#log")).to_contain_text("epoch 1/1")
