"""The dashboard, as a person uses it."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.support import drag

SHOWN_EPOCH_ABOVE = """
(epoch) => {
  const [, shown = 0] = /at epoch (\\d+)/.exec(document.querySelector("#chart").ariaLabel) ?? [];
  return Number(shown) > epoch && Number(shown);
}
"""


def test_from_the_form_to_results(watched, page, server):
    page.goto("/ui/new")
    page.get_by_label("Name").fill("일지 <1>")
    page.get_by_label("Learning rate").fill("lots")
    page.get_by_label("Epochs").fill("150")
    page.get_by_role("button", name="Start the experiment").click()

    wrong = page.get_by_label("Learning rate")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(wrong).to_be_focused()
    expect(page.locator("#learning_rate-error")).to_contain_text("must be a number above 0")
    expect(page.get_by_label("Epochs")).to_have_value("150")

    assert all("422" in one for one in watched.complaints)
    watched.complaints.clear()  # the browser logs the refused request in its console

    wrong.fill("0.002")
    page.get_by_label("Data set", exact=True).select_option("digits.npz")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("일지 <1>")
    page.evaluate("window.stayed = true")
    expect(page.locator("#state .chip")).to_have_text("succeeded", timeout=90_000)
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("at epoch 150"))
    assert page.evaluate("window.stayed")

    log = page.get_by_role("log", name="Log")
    expect(log).to_contain_text("epoch 150/150")
    expect(log).to_contain_text("finished, results in")
    picture = page.get_by_role("img", name="reconstructions.png")
    picture.scroll_into_view_if_needed()
    expect(picture).to_be_visible()
    page.wait_for_function("image => image.naturalWidth > 100", arg=picture.element_handle())
    expect(page.get_by_role("img", name=re.compile(r"error: \d+ values"))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="All as zip").click()
    assert download.value.path().stat().st_size > 10_000


@pytest.fixture
def growing(server):
    """The id of an experiment that goes on for the whole test."""
    server.submit("growing", learning_rate=0.001, epoch=100_000)
    yield "growing"
    server.ask("/experiments/growing/cancel", b"")
    server.until_ended("growing")


def test_curve_grows(page, growing):
    page.goto(f"/ui/experiments/{growing}")
    page.evaluate("window.stayed = true")
    expect(page.locator("#state .chip")).to_have_text("running")
    shown = 0
    for _ in range(3):
        shown = page.wait_for_function(SHOWN_EPOCH_ABOVE, arg=shown).json_value()
    assert page.evaluate("window.stayed")


def test_zoom_and_axis(page, two_experiments):
    page.goto(f"/ui/experiments/{two_experiments[0]}")
    plot = page.locator("#chart .u-over").first
    reset = page.get_by_role("button", name="Reset zoom")
    expect(reset).to_be_disabled()
    drag(page, plot, 0.1, 0.5)

    expect(reset).to_be_enabled()
    reset.click()
    expect(reset).to_be_disabled()
    page.get_by_label("log axis").check()
    expect(plot).to_be_visible()


def test_two_experiments_compared(page, two_experiments):
    page.goto("/ui")
    for one in two_experiments:
        page.get_by_role("checkbox", name=f"Select {one}").check()
    expect(page.get_by_text("2 experiments ticked")).to_be_visible()
    page.get_by_role("button", name="Compare them").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 experiments")
    facts = page.get_by_role("region", name="Parameters and results")
    expect(facts.get_by_role("row", name=re.compile("^pair 2"))).to_contain_text("0.005")
    expect(page.locator("td.best")).to_have_count(2)
    expect(page.locator("#chart")).to_have_attribute(
        "aria-label", re.compile(r"pair 2 .+ at epoch 12, pair 1 .+ at epoch 12")
    )


def test_cancel_retry_and_delete(page, server):
    server.submit("doomed", learning_rate=0.001, epoch=100_000)
    page.goto("/ui")
    row = page.get_by_role("row", name=re.compile("doomed"))
    expect(row).to_contain_text("running")
    expect(row).to_contain_text(" left")
    row.get_by_role("link", name="doomed").click()
    chip = page.locator("#state .chip")

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the experiment").click()
    expect(chip).to_have_text("cancelled")
    page.get_by_role("button", name="Retry").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.locator("#state")).to_contain_text("attempt 2")
    expect(chip).to_have_text("running")
    expect(page.get_by_label("Attempt")).to_have_value("2")

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Go back").click()
    expect(chip).to_have_text("running")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the experiment").click()
    expect(chip).to_have_text("cancelled")
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Delete its output folder too").check()
    page.get_by_role("button", name="Delete the experiment").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Experiments")
    expect(row).to_have_count(0)
    assert not (server.output_dir / "doomed").exists()


def test_list_shows_new_experiments(page, server):
    page.goto("/ui")
    expect(page.get_by_role("link", name="latecomer")).to_have_count(0)
    page.evaluate("window.stayed = true")
    server.submit("latecomer", learning_rate=0.001, epoch=2)

    row = page.get_by_role("row", name=re.compile("latecomer"))
    expect(row).to_contain_text("succeeded")
    expect(row).to_contain_text("2 of 2")
    assert page.evaluate("window.stayed")


def test_server_goes_and_comes_back(watched, page, server):
    server.submit("survivor", learning_rate=0.001, epoch=100_000)
    page.goto("/ui/experiments/survivor")
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("at epoch"))
    server.kill()
    lost = page.get_by_text("No connection to the server")
    expect(lost).to_be_visible()
    before = page.locator("#chart").get_attribute("aria-label")
    server.start()

    expect(lost).to_have_count(0)
    expect(page.locator("#chart")).not_to_have_attribute("aria-label", before)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the experiment").click()
    expect(page.locator("#state .chip")).to_have_text("cancelled")
    assert all("net::ERR_" in one for one in watched.complaints)
    watched.complaints.clear()
