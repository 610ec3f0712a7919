"""Accessibility: axe-core's rules in both colour schemes, a phone's width, and the keyboard."""

import pytest
from playwright.sync_api import expect

PAGES = {
    "list": "/ui",
    "nothing found": "/ui?q=nothing",
    "new": "/ui/new?from=pair 1",
    "run": "/ui/experiments/pair 1",
    "compare": "/ui/compare?id=pair 1&id=pair 2",
    "front door": "/",
    "api": "/docs",
    "data": "/ui/inputs",
    "data set": "/ui/inputs/digits.npz",
}
CUT_OFF = """
[...document.querySelectorAll(".card.flush")]
  .filter((card) => card.scrollWidth > card.clientWidth).map((card) => card.innerText)
"""


def ready(page, name):
    """Wait until a page is drawn."""
    drawn = {"run": "#chart .u-over", "compare": "#chart .u-over", "api": ".opblock"}.get(
        name, "h1"
    )
    page.locator(drawn).first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding(watched, page, two_experiments, scheme):
    page.emulate_media(color_scheme=scheme)
    findings = {}
    for name, path in PAGES.items():
        page.goto(path)
        ready(page, name)
        findings[name] = watched.findings()
    page.goto("/ui/experiments/nobody")
    findings["nobody"] = watched.findings()
    watched.refused(404)

    assert not any(findings.values()), findings


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding_in_an_operation_of_the_api(watched, page, two_experiments, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto("/docs")
    block = page.locator("#operations-Experiments-list_experiments")
    block.locator(".opblock-summary-control").click()
    block.locator(".try-out__btn").click()
    block.locator(".execute").click()
    block.locator(".live-responses-table").wait_for()

    assert watched.findings() == []


def test_phone_needs_no_sideways_scroll(page, two_experiments):
    page.set_viewport_size({"width": 360, "height": 740})
    widths = {}
    for name, path in PAGES.items():
        page.goto(path)
        ready(page, name)
        widths[name] = page.evaluate("document.documentElement.scrollWidth")
        assert page.evaluate(CUT_OFF) == []

    assert widths == dict.fromkeys(PAGES, 360)


def test_keyboard_alone_suffices(page, two_experiments):
    page.goto("/ui")
    page.keyboard.press("Tab")
    expect(page.locator("a.skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("link", name="pair 1", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Go back")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete")).to_be_focused()
