"""What an experiment uses, as a reader sees it."""

import pytest
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def measured(server):
    """The id of an experiment that has ended, with samples of its processors and memory."""
    server.submit("measured", learning_rate=0.001, epoch=1)
    server.until_ended("measured")
    samples = [
        {"elapsed": 5 * number, "cpu": 1.5, "memory": number * 10**8} for number in range(1, 6)
    ]
    server.write_samples("measured", samples)
    return "measured"


def test_panels_of_resources(page, measured):
    page.goto(f"/ui/experiments/{measured}")
    panels = page.locator("#resource-chart .panel")

    expect(panels.locator(".metric")).to_have_text(["CPU cores", "memory, MB"])
    panels.last.scroll_into_view_if_needed()
    expect(panels.last.locator(".u-legend")).to_contain_text("500")
    expect(panels.last.locator(".plot")).to_have_attribute("aria-label", "memory, MB 500")
    # The tools above are those of the metrics.
    page.locator("#smooth").fill("0.6")
    expect(panels.last.locator(".u-legend .raw")).to_have_count(0)
    expect(page.locator("#peaks")).to_contain_text("Peak memory")


def test_no_card_without_samples(page, server):
    server.submit("unmeasured", learning_rate=0.001, epoch=1)
    server.until_ended("unmeasured")
    server.write_samples("unmeasured")
    page.goto("/ui/experiments/unmeasured")
    expect(page.locator("#chart .panel").first).to_be_visible()
    expect(page.locator("#resources")).to_be_hidden()


def test_peaks_in_the_list(page, measured):
    page.goto("/ui")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Peak memory", exact=True).check()
    page.get_by_role("button", name="Show these columns").click()
    header = page.get_by_role("link", name="Peak memory")
    header.click()
    expect(page.get_by_role("columnheader", name="Peak memory")).to_have_attribute(
        "aria-sort", "descending"
    )
    expect(page.locator("#rows tr", has_text=measured).first).to_contain_text("MB")
