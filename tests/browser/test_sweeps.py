"""The pages of sweeps: start one with ranges, follow it, and change it."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.integration.waiting import eventually


@pytest.fixture(scope="module")
def sweep(server):
    """The id of a sweep that has succeeded."""
    form = {"sweep_id": "seen", "epoch": "3", "learning_rate": "0.001..0.1", "trials": "3"}
    form |= {"method": "random", "stop": "none"}
    server.ask("/sweeps", urlencode(form).encode())
    eventually(lambda: server.ask("/sweeps/seen")["finished_at"], 180)  # each starts PyTorch
    return "seen"


def test_start_and_change(watched, page, server):
    page.goto("/ui/sweeps")
    page.get_by_role("link", name="New sweep").click()
    page.locator("#sweep_id").fill("made")
    rate = page.locator('.dimension[data-name="learning_rate"]')
    rate.get_by_label("Vary").check()
    expect(rate.get_by_label("highest")).to_have_value("0.01")  # ten times the example
    rate.get_by_label("lowest").fill("0.001")
    rate.get_by_label("highest").fill("")
    page.locator('.dimension[data-name="epoch"] .single input').fill("3")
    page.locator("#trials").fill("2")
    page.locator("#method").select_option("random")
    page.get_by_role("button", name="Start the sweep").click()
    expect(page.locator("#learning_rate-error")).to_contain_text("This must be")
    watched.refused(422)
    rate.get_by_label("highest").fill("0.1")
    with server.slots_taken():  # or both trials may end before "Pause" is clicked
        page.get_by_role("button", name="Start the sweep").click()
        page.wait_for_url("**/ui/sweeps/made")
        expect(page.locator("#trials tbody tr").first).to_contain_text("made-0001")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Extend").click()
    page.get_by_label("Trials in all").fill("3")
    page.get_by_role("button", name="Change").click()
    expect(page.locator("#state")).to_contain_text("of 3 trials")
    expect(page.locator("#state .chip")).to_have_text("succeeded")
    expect(page.locator("#winner")).to_contain_text("made-000")
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Delete their output folders too").check()
    page.locator("#delete-dialog button[value=yes]").click()
    page.wait_for_url("**/ui/sweeps")
    expect(page.get_by_role("link", name="made")).to_have_count(0)


@pytest.mark.usefixtures("watched")
def test_what_was_ticked_before_the_script(page):
    held = []
    page.goto("/ui/sweeps")
    page.route("**/static/sweep.js*", lambda route: held.append(route))
    page.get_by_role("link", name="New sweep").click()
    rate = page.locator('.dimension[data-name="learning_rate"]')
    rate.get_by_label("Vary").check()
    eventually(lambda: page.wait_for_timeout(10) or held)
    held.pop().continue_()

    expect(rate.get_by_label("lowest")).to_be_visible()
    expect(rate.locator(".single")).to_be_hidden()


FIRST_POINT = """layer => {
  const [x, y] = layer.getAttribute("d").match(/[0-9.]+/g).map(Number);
  const at = new DOMPoint(x, y).matrixTransform(layer.ownerSVGElement.getScreenCTM());
  return [at.x, at.y];
}"""


def pointed_at(page, label):
    """Point at the first trial of the scatter plot; return the name that a label tells, if any."""
    page.locator("#scatter").scroll_into_view_if_needed()
    page.mouse.move(*page.locator("#scatter path[data-names]").first.evaluate(FIRST_POINT))
    name, _, value = label.text_content().partition(":")
    return name if "learning_rate 0." in value else None


def test_pictures_name_what_is_near_the_cursor(watched, page, sweep):
    page.goto(f"/ui/sweeps/{sweep}")
    curves = page.locator("#curves")
    expect(curves.locator("canvas").first).to_be_visible()
    names = [f"{sweep}-000{number}" for number in (1, 2, 3)]
    for part in ("#best", "#scatter", "#parallel"):
        expect(page.locator(f"{part} path[data-names]").first).to_be_attached()
        drawn = page.locator(f"{part} path[data-names]").evaluate_all(
            "layers => layers.flatMap(({ dataset }) => dataset.names.split('\\n'))"
        )
        assert sorted(drawn) == names, part

    label = page.locator("section:has(#scatter) .card-head .pointed")
    name = eventually(lambda: pointed_at(page, label))
    assert name in names
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(f"**/ui/experiments/{name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_finding(watched, page, sweep, scheme):
    page.emulate_media(color_scheme=scheme)
    findings = {}
    for path in ("/ui/sweeps", f"/ui/sweeps/{sweep}", "/ui/sweeps/new?model=conv-autoencoder"):
        page.goto(path)
        findings[path] = watched.findings()

    assert not any(findings.values()), findings


def test_phone_needs_no_sideways_scroll(page, sweep):
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/ui/sweeps", f"/ui/sweeps/{sweep}", "/ui/sweeps/new"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, path
