"""Long names, many ticks, proposed names, warnings, /docs, and pages without JavaScript."""

import json
import re
import shlex
import subprocess

import pytest
from playwright.sync_api import expect

KOREAN = "아주 긴 한국어 실험 이름 " * 6 + "끝"
LONG = ["x" * 200, "resnet-with-a-long-name-lr-0.0001-batch-64-seed-7-and-so-on-1", KOREAN]
SERIES = [f"many-{number:02}" for number in range(1, 23)]
COLUMNS = """
[...document.querySelectorAll("#rows > tr")].map((row) => [...row.children]
  .filter((cell) => cell.offsetWidth).map((cell) => Math.round(cell.getBoundingClientRect().left)))
"""


@pytest.fixture(scope="module")
def many(server):
    """The ids of experiments that fail at once because of their data."""
    unusable = server.folder / "input" / "many.csv"
    unusable.write_text("none")
    for experiment_id in LONG + SERIES:
        server.submit(experiment_id, learning_rate=0.1, epoch=1, dataset="many.csv")
    server.until_ended(*LONG, *SERIES)
    unusable.unlink()  # or an experiment with every file would be refused
    return LONG + SERIES


@pytest.fixture(scope="module")
def dead(server):
    """An experiment whose validation loss never improved."""
    server.submit("dead-lr-10", learning_rate=10, epoch=2)
    server.until_ended("dead-lr-10")
    rows = [{"epoch": epoch, "loss": 0.5, "val_loss": 0.5 + epoch} for epoch in (1, 2)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (server.output_dir / "dead-lr-10" / "metrics.jsonl").write_text(text)
    return "dead-lr-10"


@pytest.mark.parametrize("width", [1200, 800, 360])
def test_long_names_push_nothing_off(page, many, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/ui")
    for name in LONG:
        link = page.get_by_role("link", name=name, exact=True)
        expect(link).to_have_attribute("title", name)
        box = link.bounding_box()
        assert box["x"] + box["width"] <= width, name
        assert box["height"] < (75 if width == 360 else 30), "one line, three on a phone"
    places = page.evaluate(COLUMNS)
    assert all(row == places[0] for row in places)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    status = page.locator("#rows .chip").first.bounding_box()
    assert status["x"] + status["width"] < width


def test_too_many_ticks_are_refused_in_words(page, many):
    page.goto("/ui?q=many")
    button = page.get_by_role("button", name="Compare them")
    for name in SERIES[:20]:
        page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()
    expect(button).to_be_enabled()
    for name in SERIES[20:]:
        page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()

    expect(
        page.get_by_text("22 experiments ticked. At most 20 can be compared: untick 2.")
    ).to_be_visible()
    expect(button).to_be_disabled()
    for name in SERIES[20:]:
        page.get_by_role("checkbox", name=f"Select {name}", exact=True).uncheck()
    button.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 20 experiments")


def test_dead_experiment_is_marked(watched, page, dead):
    page.goto("/ui?q=dead")
    row = page.get_by_role("row", name=re.compile(dead))
    expect(row).to_contain_text("not improved")
    assert watched.findings() == []
    row.get_by_role("link", name=dead).click()

    expect(page.get_by_role("region", name="What looks wrong")).to_contain_text(
        "val_loss has not improved since epoch 1: it was 1.5, and 2.5 at epoch 2."
    )
    assert watched.findings() == []


def test_the_same_again_under_a_new_name(page, server, dead):
    page.goto(f"/ui/experiments/{dead}")
    command = page.locator("#curl").text_content()
    answer = subprocess.run(
        [*shlex.split(command.replace("\\\n", "")), "-s"], capture_output=True, timeout=60
    )
    assert json.loads(answer.stdout)["experiment_id"] == "dead-lr-10-2"
    assert json.loads(answer.stdout)["message"] == "Job Created"

    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_label("Name")).to_have_value("dead-lr-10-3")
    expect(page.get_by_label("Learning rate")).to_have_value("10.0")


def test_pages_without_javascript(chromium, server, many, dead):
    context = chromium.new_context(base_url=server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/ui?q=many")
    expect(page.locator("#rows > tr")).to_have_count(len(SERIES))
    for name in SERIES:
        page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()
    expect(page.get_by_text("Tick 2 to 20 experiments to compare them.")).to_be_visible()
    page.get_by_role("button", name="Compare them").click()
    expect(page.locator("main")).to_contain_text("22 were ticked.")
    page.goto(f"/ui/experiments/{dead}")
    expect(page.get_by_role("region", name="What looks wrong")).to_be_visible()
    context.close()


@pytest.fixture
def busy(server):
    """No free slot, so that an experiment that is submitted meanwhile can be cancelled."""
    with server.slots_taken():
        yield


def test_examples_of_the_api_pages_can_be_executed(page, many, busy):
    """Each route but streams, and those whose example is a file of the reader."""
    page.goto("/docs")
    page.locator(".opblock").first.wait_for()
    answers = {}
    for block in page.locator(".opblock").all():
        method = block.locator(".opblock-summary-method").inner_text()
        path = block.locator(".opblock-summary-path").inner_text().replace("\u200b", "")
        if path == "/events" or method in ("PUT", "DELETE"):
            continue
        if path.endswith(("/pause", "/resume")):  # 409: the example of /cancel comes first
            continue
        block.locator(".opblock-summary-control").click()
        block.locator(".try-out__btn").click()
        with page.expect_response(lambda answer: "/static/" not in answer.url) as answer:
            block.locator(".execute").click()
        answers[method, path] = answer.value.status
        block.locator(".opblock-summary-control").click()

    answers.pop(("POST", "/experiments/{experiment_id}/retry"))  # 409 unless it was cancelled
    assert len(answers) > 15
    assert {key: status for key, status in answers.items() if status >= 300} == {}


def test_sign_in_page_looks_like_the_others(stranger):
    page = stranger.page
    page.goto("/ui")
    button = page.get_by_role("button", name="Sign in")
    assert page.locator(".card").evaluate("(node) => getComputedStyle(node).borderRadius") == "10px"
    assert button.evaluate("(node) => getComputedStyle(node).color") == "rgb(255, 255, 255)"
    assert stranger.findings() == []
    stranger.refused(401)
