"""The list of many experiments: order, filters, and what is done with several at once."""

import json
import re
import sqlite3
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import serving, watching
from tests.integration.waiting import eventually

NUMBER = 60
BEST = "trial-37"
COUNT_CLICKS = """
addEventListener("click", ({ detail }) => {
  if (detail) sessionStorage.clicks = Number(sessionStorage.clicks ?? 0) + 1;
}, true);
"""


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    """A server with sixty experiments that have ended, of which BEST has the lowest val_loss."""
    with serving(tmp_path_factory.mktemp("sixty")) as server:
        (server.folder / "input" / "broken.csv").write_text("none")
        ids = [f"trial-{number:02}" for number in range(1, NUMBER + 1)]
        for number, name in enumerate(ids, 1):
            rate = 0.1 / number
            server.submit(name, learning_rate=rate, epoch=20, dataset="broken.csv")
        server.until_ended(*ids)
        server.kill()
        for number, name in enumerate(ids, 1):
            distance = abs(number - 37) / 40
            rows = [
                {"epoch": epoch, "loss": 0.9 / epoch, "val_loss": 0.1 + distance + 1 / epoch}
                for epoch in range(1, 21)
            ]
            rows[-1]["val_loss"] += number % 7  # the last value is not the best
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (server.output_dir / name / "metrics.jsonl").write_text(lines)
        (database,) = (server.folder / "data").glob("*.sqlite3")
        with sqlite3.connect(database) as connection:
            connection.execute("DELETE FROM metric_summaries")  # filled in again
            connection.execute("DELETE FROM metric")
        connection.close()
        server.start()
        path = "/experiments?limit=1000&sort=metrics.val_loss.min"
        eventually(lambda: len(server.ask_query(path)) == NUMBER, 60)
        yield server


@pytest.fixture
def list_page(chromium, sixty):
    with watching(chromium, sixty) as watched:
        watched.page.set_viewport_size({"width": 1920, "height": 1080})
        watched.page.add_init_script(COUNT_CLICKS)
        watched.page.goto("/ui")
        # The script has started: before, keys do nothing.
        expect(watched.page.locator(".selection span")).to_have_text("0 experiments ticked")
        yield watched


def names(page):
    return page.locator("#rows .title > a").all_text_contents()


def clicks(page):
    return page.evaluate("Number(sessionStorage.clicks)")


def test_best_so_far_takes_one_click(list_page):
    page = list_page.page
    page.get_by_role("link", name="Best val_loss").click()

    expect(page.get_by_role("columnheader", name="Best val_loss")).to_have_attribute(
        "aria-sort", "ascending"
    )
    assert names(page)[:3] in (
        [BEST, "trial-36", "trial-38"],
        [BEST, "trial-38", "trial-36"],
    )
    assert parse_qs(urlsplit(page.url).query)["sort"] == ["metrics.val_loss.min"]
    assert clicks(page) == 1


def test_25_rows_on_a_screen_and_no_serious_finding(list_page):
    page = list_page.page
    rows = page.locator("#rows > tr")
    box = rows.nth(24).bounding_box()
    assert box["y"] + box["height"] <= 1080
    assert page.evaluate("document.documentElement.scrollWidth") == 1920
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert list_page.findings() == []
    rows.first.get_by_role("checkbox").check()
    assert list_page.findings() == []
    page.get_by_role("button", name="Delete 1").click()
    assert list_page.findings() == []


def test_compare_the_last_five_takes_three_clicks(list_page):
    page = list_page.page
    boxes = page.locator("#rows input")
    boxes.nth(0).click()
    boxes.nth(4).click(modifiers=["Shift"])
    page.get_by_role("button", name="Compare them").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 5 experiments")
    assert clicks(page) == 3


def test_filter_and_order_stay_while_paging(list_page):
    page = list_page.page
    page.get_by_label("Filter").fill("learning_rate<0.05 and metrics.val_loss.min>0.1")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Learning rate").click()
    expect(page.locator("#rows > tr")).to_have_count(50)
    page.locator(".more").scroll_into_view_if_needed()

    expect(page.locator("#rows > tr")).to_have_count(NUMBER - 2)
    assert names(page) == [f"trial-{number:02}" for number in range(NUMBER, 2, -1)]
    expect(page.get_by_label("Filter")).to_have_value(
        "learning_rate<0.05 and metrics.val_loss.min>0.1"
    )


def test_wrong_filter_is_explained(list_page):
    page = list_page.page
    page.get_by_label("Filter").fill("rate<1")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("unknown name at character 1, 'rate'")
    expect(page.get_by_label("Filter")).to_have_value("rate<1")
    assert list_page.findings() == []
    list_page.refused(422)


def test_keys(list_page):
    page = list_page.page
    for key in ("j", "j", "k", "x", "j", "j", "Shift+X"):
        page.keyboard.press(key)
    expect(page.locator("#rows input:checked")).to_have_count(3)
    expect(page.locator("#rows a:focus")).to_have_text("trial-58")
    page.keyboard.press("/")
    expect(page.get_by_label("Part of the name")).to_be_focused()
    page.keyboard.type("jx/")
    expect(page.get_by_label("Part of the name")).to_have_value("jx/")
    expect(page.locator("#rows input:checked")).to_have_count(3)


def test_list_without_javascript(chromium, sixty):
    context = chromium.new_context(base_url=sixty.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/ui")
    page.get_by_role("link", name="Best val_loss").click()
    expect(page.locator("#rows .title > a").first).to_have_text(BEST)
    page.get_by_role("link", name="More experiments").click()
    expect(page.locator("#rows .title > a").first).not_to_have_text(BEST)
    assert BEST not in names(page)
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    context.close()


def test_refused_actions_are_explained_for_each(list_page, sixty):
    """What another person has changed meanwhile is not done, and the dialog says why."""
    page = list_page.page
    page.goto("/ui?where=learning_rate%3E0.009")
    page.get_by_role("checkbox", name="Select trial-11").check()
    page.get_by_role("checkbox", name="Select trial-10").check()
    page.get_by_role("button", name="Delete 2").click()
    sixty.delete("trial-10")
    page.get_by_role("button", name="Delete them").click()

    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("trial-11 is deleted.")
    expect(dialog).to_contain_text("There is no experiment 'trial-10'.")
    expect(dialog).to_contain_text("Done for 1. 1 could not be changed")
    list_page.refused(404)


def test_low_rates_by_their_best_value_take_one_request(sixty):
    path = "/experiments?where=learning_rate%3C0.01&sort=metrics.val_loss.min&limit=3"
    first, *_ = found = sixty.ask_query(path)

    assert first["experiment_id"] == BEST
    assert all(experiment["learning_rate"] < 0.01 for experiment in found)
    assert first["metrics"]["val_loss"]["min"] == pytest.approx(0.1 + 1 / 19)


def test_a_smaller_rate_again_takes_two_clicks(list_page, sixty):
    """The suggested id is free, and names the rate that the experiment has."""
    page = list_page.page
    sixty.submit("digits-lr-0.1", learning_rate=0.1, epoch=20, dataset="broken.csv")
    page.goto("/ui/experiments/digits-lr-0.1")
    page.evaluate("sessionStorage.clicks = 0")
    page.get_by_role("link", name="Run again with changes").click()
    rate = page.get_by_label("Learning rate")
    rate.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("0.05")
    page.get_by_role("button", name="Start the experiment").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("digits-lr-0.05")
    assert clicks(page) == 2
    started = sixty.ask("/experiments/digits-lr-0.05")
    assert started["learning_rate"] == 0.05
    sixty.until_ended("digits-lr-0.05", "digits-lr-0.1")
    page.goto("/ui")  # the page of a deleted experiment is refreshed in vain
    for name in ("digits-lr-0.05", "digits-lr-0.1"):
        sixty.delete(name)


def test_learning_rate_is_seen_at_1280(list_page):
    page = list_page.page
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.get_by_role("columnheader", name="Learning rate")).to_be_visible()
    assert page.locator("#rows td.rate").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert page.locator("#rows .title").first.bounding_box()["width"] > 150


def test_names_are_readable_at_every_width(list_page):
    page = list_page.page
    for width in (721, 900, 901, 1040, 1041, 1180, 1181, 1340, 1341, 1440, 1640, 1641, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.locator("#rows .title").first.bounding_box()["width"] >= 145, width
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_chosen_columns_are_kept(list_page, sixty):
    page = list_page.page
    left = len(sixty.ask_query("/experiments?limit=1000"))  # other tests delete some
    page.get_by_text("Columns", exact=True).click()
    for label in ("Batch size", "Min val_loss", "Duration"):
        page.get_by_label(label, exact=True).check()
    page.get_by_label("Curve", exact=True).uncheck()
    page.get_by_role("button", name="Show these columns").click()
    page.get_by_role("link", name="Min val_loss").click()

    expect(page.get_by_role("columnheader", name="Min val_loss")).to_have_attribute(
        "aria-sort", "ascending"
    )
    expect(page.get_by_role("columnheader", name="Batch size")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Curve")).to_have_count(0)
    assert names(page)[0] == BEST
    assert "batch_size" in parse_qs(urlsplit(page.url).query)["columns"]
    expect(page.locator("#rows > tr")).to_have_count(50)
    page.locator(".more").scroll_into_view_if_needed()
    expect(page.locator("#rows > tr")).to_have_count(left)
    cells = page.locator("#rows > tr").last.locator("td, th")
    assert cells.count() == page.locator("#head th").count()
    assert list_page.findings() == []


def test_all_that_match_are_tagged(list_page, sixty):
    page = list_page.page
    matching = len(sixty.ask_query("/experiments?limit=1000&where=learning_rate%3C0.05"))
    page.route("**/ui?*after=*", lambda route: route.abort())  # no further page is loaded
    page.goto("/ui?where=learning_rate%3C0.05")
    page.locator("#all").click()
    page.get_by_role("button", name="Select all that match").click()
    page.get_by_role("button", name=f"Tag {matching}", exact=True).click()
    page.get_by_role("button", name="Tag them").click()
    expect(page.get_by_role("alert")).to_have_text("Write a tag, such as baseline.")
    page.get_by_label("Tag", exact=True).last.fill("low rate")
    assert list_page.findings() == []
    page.get_by_role("button", name="Tag them").click()

    expect(page.get_by_role("dialog")).to_contain_text(f"Done for all {matching}.")
    assert len(sixty.ask_query("/experiments?limit=1000&tag=low%20rate")) == matching
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#rows .label").first).to_have_text("low rate")
    page.unroute("**/ui?*after=*")
    page.locator("#rows .label").first.click()
    expect(page.get_by_label("Tag", exact=True).first).to_have_value("low rate")
    page.locator("#rows input").first.click()
    page.get_by_role("button", name="Untag 1", exact=True).click()
    page.get_by_label("Tag", exact=True).last.fill("low rate")
    page.get_by_role("button", name="Untag them").click()
    expect(page.get_by_role("dialog")).to_contain_text("Done for all 1.")
    assert len(sixty.ask_query("/experiments?limit=1000&tag=low%20rate")) == matching - 1
    list_page.complaints.clear()  # the page that was not loaded


def test_plots_of_the_ticked(list_page):
    page = list_page.page
    page.locator("#rows input").nth(0).click()
    page.locator("#rows input").nth(9).click(modifiers=["Shift"])
    page.get_by_role("button", name="Plot them").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("10 experiments in one picture")
    expect(page.locator("#scatter circle")).to_have_count(10)
    expect(page.locator("#parallel polyline")).to_have_count(10)
    page.get_by_label("Group by").select_option("learning_rate")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("table.groups tbody tr")).to_have_count(10)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert list_page.findings() == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#scatter a").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("trial-"))


def test_tags_note_and_favourite_of_an_experiment(list_page, sixty):
    page = list_page.page
    page.goto("/ui/experiments/trial-01")
    page.get_by_role("button", name="Favourite").click()
    expect(page.get_by_role("button", name="Favourite", pressed=True)).to_be_visible()
    page.get_by_role("button", name="Add tags or a note").click()
    page.get_by_label("Tags", exact=True).fill("좋은 seed, baseline,")
    page.get_by_label("Note", exact=True).fill("**Good** <b>text</b>\n\n* [a](https://example.com)")
    page.get_by_role("button", name="Save").click()

    expect(page.locator(".markdown strong")).to_have_text("Good")
    expect(page.locator("#notes .label")).to_have_text(["baseline", "좋은 seed"])
    stored = sixty.ask("/experiments/trial-01")
    assert (stored["favourite"], stored["revision"]) == (True, 2)
    assert stored["note"] == "**Good** <b>text</b>\n\n* [a](https://example.com)"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert list_page.findings() == []

    page.get_by_role("button", name="Edit tags and note").click()
    assert list_page.findings() == []
    expect(page.get_by_label("Note", exact=True)).to_have_value(stored["note"])
    sixty.tag("trial-01", "theirs")  # meanwhile, by somebody else
    page.get_by_label("Note", exact=True).fill("mine")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("were changed meanwhile")
    expect(page.get_by_label("Note", exact=True)).to_have_value("mine")
    page.get_by_role("button", name="Go back").click()
    list_page.refused(409)
    page.goto("/ui?favourite=true")
    assert names(page) == ["trial-01"]


def test_delete_ten_takes_three_clicks(list_page, sixty):
    page = list_page.page
    before = len(sixty.ask_query("/experiments?limit=1000"))
    page.locator("#rows input").nth(9).click(modifiers=["Shift"])
    page.get_by_role("button", name=re.compile("Delete 10")).click()
    page.get_by_role("button", name="Delete them").click()

    expect(page.get_by_role("dialog")).to_contain_text("Done for all 10.")
    assert clicks(page) == 3
    assert len(sixty.ask_query("/experiments?limit=1000")) == before - 10
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("link", name="trial-60")).to_have_count(0)
