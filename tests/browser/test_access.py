"""Signing in, and requests from pages of other origins in a signed-in browser."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.support import ALICE, BOB, OtherOrigin


def sign_in(page, token):
    page.get_by_label("API token").fill(token)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture
def signed_in(stranger):
    """The page of alice, signed in."""
    stranger.page.goto("/ui")
    sign_in(stranger.page, ALICE)
    expect(stranger.page.get_by_role("heading", level=1)).to_have_text("Experiments")
    stranger.refused(401)
    return stranger


def test_sign_in_work_and_sign_out(stranger, guarded):
    page = stranger.page
    page.goto("/ui/new")
    sign_in(page, "a-wrong-token")
    expect(page.get_by_role("alert")).to_contain_text("No such token")
    assert page.context.cookies() == []

    sign_in(page, ALICE)
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text("New experiment")  # the page that was asked for first
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    assert ALICE not in page.content()

    page.get_by_label("Name").fill("by alice")
    page.get_by_label("Epochs").fill("100000")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("by alice")
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("at epoch"))
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the experiment").click()
    expect(page.locator("#state .chip")).to_have_text("cancelled")
    history = guarded.ask("/experiments/by alice")["history"]
    assert {one["by"] for one in history} == {"alice", None}

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API token")).to_be_focused()
    assert page.context.cookies() == []
    page.goto("/ui/experiments/by alice")
    expect(page.get_by_label("API token")).to_be_visible()
    stranger.refused(401)


SUBMIT = """
async () => {
  const body = new FormData();
  body.set("learning_rate", "0.001");
  body.set("epoch", "1");
  body.set("experiment_id", "by bob");
  const token = document.querySelector("meta[name=csrf-token]").content;
  const headers = { "X-CSRF-Token": token };
  const answer = await fetch("/test", { method: "POST", body, headers });
  return [answer.status, (await answer.json()).detail];
}
"""


def test_read_only_token_is_offered_nothing_and_starts_nothing(stranger, guarded, victim):
    page = stranger.page
    page.goto("/ui/experiments/victim")
    sign_in(page, BOB)
    expect(page.get_by_role("heading", level=1)).to_have_text("victim")
    expect(page.locator("#state .chip")).to_have_text("failed")
    for name in ("Cancel", "Retry", "Delete", "Run again with changes", "New experiment", "Copy"):
        assert page.get_by_text(name, exact=True).count() == 0, name
    page.goto("/ui")
    page.get_by_role("checkbox", name="Select victim").check()
    expect(page.locator(".selection")).to_be_visible()
    expect(page.locator("[data-bulk]")).to_have_count(0)
    assert page.locator("a[href*='/ui/new']").count() == 0
    page.goto("/ui/new")
    expect(page.locator("main")).to_contain_text("This session may only read.")
    assert page.locator("main form").count() == 0
    assert stranger.findings() == []

    page.goto("/ui")
    status, detail = page.evaluate(SUBMIT)
    assert (status, "'bob' may only read" in detail) == (403, True)
    assert "by bob" not in [one["experiment_id"] for one in guarded.ask("/experiments")]
    stranger.refused(401, 403)


def test_ended_session_asks_for_a_token(signed_in):
    page = signed_in.page
    page.goto("/ui/new")
    page.context.clear_cookies()
    page.get_by_role("button", name="Start the experiment").click()

    expect(page.get_by_label("API token")).to_be_visible()
    sign_in(page, ALICE)
    expect(page.get_by_role("heading", level=1)).to_have_text("New experiment")
    signed_in.refused(401)


def test_api_page_works_when_signed_in(signed_in):
    page = signed_in.page
    page.goto("/docs")
    page.locator("#operations-Experiments-cancel_experiment").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_placeholder("experiment_id").fill("nobody's")
    page.get_by_role("button", name="Execute").click()

    expect(page.locator(".live-responses-table")).to_contain_text("There is no experiment")
    signed_in.refused(404)  # not 403: the page has sent its CSRF token


# Pages of other origins. Another port of 127.0.0.1 is the same site, so the browser sends cookies.

FORM = """
(kind) => {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: TARGET + "/test", enctype: kind });
  for (const [name, value] of Object.entries(
    { learning_rate: "0.001", epoch: "1", experiment_id: "forged" })) {
    const input = document.createElement("input");
    Object.assign(input, { name, value });
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}
"""
CHANGE = """
async ([path, options]) => {
  try {
    return (await fetch(TARGET + path, { credentials: "include", ...options })).type;
  } catch (error) {
    return error.name;
  }
}
"""
READ = """
async () => {
  const found = [];
  const load = (make) => new Promise((done) => {
    const one = make();
    one.onload = one.onopen = () => done(found.push(one.tagName ?? one.constructor.name));
    one.onerror = one.onmessage = ({ data }) => done(data && found.push(data));
  });
  for (const path of ["/experiments", "/experiments/victim", "/openapi.json", "/ui", "/"]) {
    for (const mode of ["cors", "no-cors"]) {
      const options = { mode, credentials: "include" };
      await fetch(TARGET + path, options).then((answer) => answer.text())
        .then((text) => text && found.push(text), () => {});
    }
    const add = (name, attributes) => load(() => {
      const one = Object.assign(document.createElement(name), attributes);
      document.body.append(one);
      return one;
    });
    await add("script", { src: TARGET + path });
    await add("link", { rel: "stylesheet", href: TARGET + path });
    await add("img", { src: TARGET + path });
  }
  await load(() => new EventSource(TARGET + "/events", { withCredentials: true }));
  const log = TARGET + "/experiments/victim/logs?follow=true";
  await load(() => new EventSource(log, { withCredentials: true }));
  return found;
}
"""
FRAME = """
() => {
  const frame = document.createElement("iframe");
  frame.src = TARGET + "/ui";
  document.body.append(frame);
}
"""
CHANGES = [
    ("/test", {"method": "POST", "mode": "no-cors"}),
    ("/test", {"method": "POST", "mode": "cors"}),
    ("/experiments/victim", {"method": "DELETE", "mode": "no-cors"}),
    ("/experiments/victim", {"method": "DELETE", "mode": "cors"}),
    ("/experiments/victim/retry", {"method": "POST", "mode": "no-cors"}),
    ("/inputs/a.csv", {"method": "PUT", "mode": "cors", "body": "1"}),
    ("/ui/logout", {"method": "POST", "mode": "no-cors"}),
]


@pytest.fixture(scope="session")
def victim(guarded):
    """An experiment that has failed at once because of its data."""
    unusable = guarded.folder / "input" / "broken.csv"
    unusable.write_text("none")
    guarded.submit("victim", learning_rate=0.001, epoch=1, dataset="broken.csv")
    guarded.until_ended("victim")
    unusable.unlink()  # or an experiment with every file would be refused
    return "victim"


@pytest.fixture(params=["127.0.0.1", "localhost"])
def other(request, signed_in, guarded, victim):
    """A page of another origin, in a signed-in browser."""
    page = signed_in.page.context.new_page()
    with OtherOrigin(guarded.url) as server:
        page.goto(f"http://{request.param}:{server.port}/")
        yield page


def state(guarded):
    """Return everything that a forged request could change."""
    return guarded.ask("/experiments"), guarded.ask("/inputs")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "application/x-www-form-urlencoded", "text/plain"]
)
def test_foreign_form_starts_nothing(other, guarded, kind):
    before = state(guarded)
    with other.expect_response("**/test") as answer:
        other.evaluate(FORM, kind)

    assert answer.value.status == 403
    assert state(guarded) == before


def test_foreign_script_changes_nothing(other, signed_in, guarded):
    before = state(guarded)
    for change in CHANGES:
        assert other.evaluate(CHANGE, change) in ("TypeError", "opaque"), change

    assert state(guarded) == before
    signed_in.page.reload()
    expect(signed_in.page.get_by_role("button", name="Sign out")).to_be_visible()


def test_foreign_page_reads_nothing(other):
    assert other.evaluate(READ) == []


def test_foreign_page_frames_nothing(other):
    with other.expect_console_message(lambda one: "frame-ancestors 'none'" in one.text):
        other.evaluate(FRAME)
