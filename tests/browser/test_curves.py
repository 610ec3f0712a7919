"""The panels of curves: what is drawn, by which axis, and that the address keeps it."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.support import drag
from tests.browser.test_charts import HAS_DRAWN, RECORD, labels

OBJECTIVE = "best val_loss 0.2 at epoch 3"


@pytest.fixture(scope="module")
def many_metrics(server):
    """The id of an experiment with five metrics, whose best val_loss is not its last."""
    server.submit("metrics", learning_rate=0.001, epoch=1)
    server.until_ended("metrics")
    server.write_samples("metrics")  # none, whose labels would be drawn, too
    rows = [
        {"epoch": epoch, "seconds": 60, "accuracy": epoch / 10, "loss": 1 / epoch, "val_loss": loss}
        for epoch, loss in enumerate([0.9, 0.5, 0.2, 0.4, 0.8], 1)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (server.output_dir / "metrics" / "metrics.jsonl").write_text(text)
    return "metrics"


@pytest.fixture
def drawn_page(page, many_metrics):
    page.add_init_script(RECORD)
    page.goto(f"/ui/experiments/{many_metrics}")
    page.locator("#chart .u-over").first.wait_for()
    return page


def test_each_metric_has_a_panel_and_the_objective_is_first(drawn_page):
    panels = drawn_page.locator("#chart .panel")

    expect(panels.locator(".metric")).to_have_text(["loss", "accuracy", "seconds"])
    expect(panels.first.get_by_text(OBJECTIVE)).to_be_visible()
    expect(panels.first.locator(".plot")).to_have_attribute(
        "aria-label", "loss 0.2 at epoch 5, val_loss 0.8 at epoch 5"
    )
    expect(panels.first.locator(".u-legend")).to_contain_text("val_loss")


def test_settings_are_kept_in_the_address(drawn_page):
    page = drawn_page
    page.locator("#axis").select_option("relative")
    page.locator("#smooth").fill("0.6")
    page.get_by_label("log axis").check()
    page.get_by_label("log x axis").check()
    expect(page).to_have_url(re.compile(r"\?axis=relative&smooth=0.6&log=1&logx=1$"))

    page.reload()
    expect(page.locator("#axis")).to_have_value("relative")
    expect(page.locator("#smooth")).to_have_value("0.6")
    expect(page.get_by_label("log axis")).to_be_checked()
    expect(page.get_by_label("log x axis")).to_be_checked()
    expect(page.locator("#chart .panel .u-over").first).to_be_visible()
    page.get_by_label("log axis").uncheck()
    page.get_by_label("log x axis").uncheck()
    page.locator("#smooth").fill("0")
    page.locator("#axis").select_option("epoch")
    expect(page).to_have_url(re.compile(r"^[^?]+$"))


@pytest.mark.parametrize("query", ["axis=never", "smooth=x", "log=2&logx=", "axis=time&logx=1"])
def test_other_settings_in_the_address_do_no_harm(page, many_metrics, query):
    page.goto(f"/ui/experiments/{many_metrics}?{query}")

    expect(page.locator("#chart .panel .u-over").first).to_be_visible()


def test_axes_by_time(drawn_page):
    page = drawn_page
    page.evaluate("window.drawn = []")
    page.locator("#axis").select_option("relative")
    page.wait_for_function(HAS_DRAWN)
    assert "3:00 min" in labels(page, "center")

    page.evaluate("window.drawn = []")
    page.locator("#axis").select_option("time")
    page.wait_for_function(HAS_DRAWN)
    assert all(re.fullmatch(r"\d\d:\d\d(:\d\d)?|\d\d-\d\d", one) for one in labels(page, "center"))


def test_smoothing_keeps_the_line_itself(drawn_page):
    page = drawn_page
    expect(page.locator("#chart .panel").first.locator(".u-legend .u-series")).to_have_count(3)
    page.locator("#smooth").fill("0.9")

    expect(page.locator("#chart .panel").first.locator(".u-legend .raw")).to_have_count(2)
    expect(page.locator("#smoothed")).to_have_text("0.9")
    expect(page.locator("#chart .panel").first.get_by_text(OBJECTIVE)).to_be_visible()


SMOOTH = """
async () => {
  const { smoothed, bestRow } = await import("/static/plots/series.js");
  const values = [null, 1, 3, 3, 1];
  return [
    smoothed([1, null, 3], 0.5), smoothed([2, 2, 2], 0.9),
    bestRow(values, "minimize"), bestRow(values, "maximize"), bestRow([null], "minimize"),
  ];
}
"""


def test_smoothing_has_no_bias(drawn_page):
    smooth, constant, lowest, highest, none = drawn_page.evaluate(SMOOTH)

    assert smooth == [1, None, pytest.approx((0.5 * 3 + 0.25 * 1) / 0.75)]
    assert constant == pytest.approx([2, 2, 2])
    assert (lowest, highest, none) == (1, 2, -1)


def test_zoom_concerns_all_panels(drawn_page):
    page = drawn_page
    page.evaluate("window.drawn = []")
    drag(page, page.locator("#chart .panel .u-over").first, 0.3, 0.6)

    expect(page.get_by_role("button", name="Reset zoom")).to_be_enabled()
    page.wait_for_function(HAS_DRAWN)
    assert "5" not in labels(page, "center")
    page.locator("#chart .panel .u-over").first.dblclick()
    expect(page.get_by_role("button", name="Reset zoom")).to_be_disabled()


def test_hundred_thousand_epochs_are_drawn(page, server, many_metrics):
    lines = (
        f'{{"epoch": {epoch}, "loss": {1 / epoch}, "accuracy": {1 - 1 / epoch}, "seconds": 0.01}}\n'
        for epoch in range(1, 100_001)
    )
    server.submit("mammoth", learning_rate=0.001, epoch=1)
    server.until_ended("mammoth")
    (server.output_dir / "mammoth" / "metrics.jsonl").write_text("".join(lines))
    page.goto("/ui/experiments/mammoth")

    expect(page.locator("#chart")).to_have_attribute(
        "aria-label", re.compile("loss 0.00001 at epoch 100000|loss 1e-5 at epoch 100000")
    )
    expect(page.locator("#chart .panel .u-over")).to_have_count(3)


@pytest.fixture(scope="module")
def twenty(server):
    """The ids of twenty experiments of one series, with curves."""
    unusable = server.folder / "input" / "twenty.csv"
    unusable.write_text("none")
    ids = [f"long-series-of-digits-lr-{number:02}" for number in range(20)]
    for experiment_id in ids:
        server.submit(experiment_id, learning_rate=0.1, epoch=1, dataset="twenty.csv")
    server.until_ended(*ids)
    unusable.unlink()  # or an experiment with every file would be refused
    for number, experiment_id in enumerate(ids):
        rows = [
            {"epoch": epoch, "loss": (1 + abs(number - 7)) / epoch, "val_loss": 1 + number / epoch}
            for epoch in range(1, 31)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (server.output_dir / experiment_id / "metrics.jsonl").write_text(text)
    return ids


def test_twenty_experiments_are_compared_as_rows(watched, page, twenty):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto("/ui/compare?" + "&".join(f"id={one}" for one in twenty))
    rows = page.locator("#facts tbody tr")
    expect(rows).to_have_count(20)
    link = rows.nth(7).get_by_role("link")
    assert link.get_attribute("title") == twenty[7]
    expect(link).to_have_accessible_name(twenty[7])
    assert link.bounding_box()["width"] < 60, "what all names have in common is left out"

    scroll = page.locator(".scroll")
    before = link.bounding_box()["x"]
    scroll.evaluate("(node) => node.scrollTo(1000, 0)")
    assert link.bounding_box()["x"] == before
    expect(page.locator("#chart .panel .metric")).to_have_text(["val_loss", "loss"])
    first = page.locator("#chart .panel").first
    expect(first).to_contain_text(f"best 1 at epoch 1: {twenty[0]}")
    expect(first.locator(".u-legend .u-series")).to_have_count(20)
    keys = page.locator("#facts .key").evaluate_all(
        "keys => keys.map((key) => key.classList.value)"
    )
    assert len(set(keys)) == 20, "colour and dashes tell all lines apart"
    assert watched.findings() == []
