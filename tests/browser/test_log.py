"""The log of an experiment and its times, and that a live page keeps up with its trainer."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import serving, watching

LINES = [
    "\x1b[1;32mINFO\x1b[0m starting",
    *(f"epoch {number}/300 loss 0.5" for number in range(1, 301)),
    "10%\r55%\r\x1b[33m100%\x1b[0m",
    "\x1b[31mERROR\x1b[0m <b>bad</b> " + "x" * 400,
]

TRAINER_OF_A_GANG = """
import os
print("of worker", os.environ["NODE_RANK"], "of", os.environ["NNODES"])
"""


@pytest.fixture(scope="module")
def printed(server):
    """The id of an experiment that has ended, whose log is LINES."""
    server.submit("printed", learning_rate=0.001, epoch=1)
    server.until_ended("printed")
    (server.output_dir / "printed" / "logs" / "1.log").write_text("\n".join(LINES) + "\n")
    return "printed"


@pytest.fixture
def log(page, printed):
    page.goto(f"/ui/experiments/{printed}")
    log = page.get_by_role("log", name="Log")
    expect(log.locator(".line")).to_have_count(len(LINES))
    return log


def test_log_is_as_in_a_terminal(watched, log):
    lines = log.locator(".line")

    expect(lines.first.locator(".ansi-1.ansi-32")).to_have_text("INFO")
    expect(lines.nth(301)).to_have_text("100%")
    expect(lines.last).to_contain_text("ERROR <b>bad</b> xxx")
    expect(lines.last.locator(".ansi-31")).to_have_text("ERROR")
    assert "\x1b" not in log.text_content()
    assert watched.findings() == []


def test_find_in_the_log(page, log):
    page.get_by_label("Find in the log").fill("EPOCH 29")
    expect(page.locator("#found")).to_have_text("11 of 11")  # 29 and 290 to 299
    current = log.locator(".line.current")
    expect(current).to_have_text("epoch 299/300 loss 0.5")
    expect(current).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_have_text("1 of 11")
    expect(current).to_have_text("epoch 29/300 loss 0.5")
    expect(current).to_be_in_viewport()
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#found")).to_have_text("11 of 11")

    page.get_by_label("Find in the log").fill("nowhere")
    expect(page.locator("#found")).to_have_text("none")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Find in the log")).to_have_value("")
    expect(page.locator("#found")).to_be_empty()
    expect(log.locator(".match")).to_have_count(0)


def test_wrap_switch_is_kept_in_the_address(page, log):
    is_wrapped = "(node) => node.scrollWidth <= node.clientWidth"
    assert log.evaluate(is_wrapped)
    page.get_by_label("wrap").first.uncheck()
    assert not log.evaluate(is_wrapped)
    expect(page).to_have_url(re.compile(r"\?wrap=0$"))
    page.reload()
    expect(log.locator(".line")).to_have_count(len(LINES))
    assert not log.evaluate(is_wrapped)


def test_download_of_the_log(page, log):
    with page.expect_download() as download:
        page.locator("#log-download").click()

    assert download.value.suggested_filename == "printed-1.log"
    text = download.value.path().read_text()
    assert text.startswith("INFO starting\nepoch 1/300")
    assert "\n100%\nERROR" in text


def test_copied_lines_have_single_line_ends(page, log):
    text = log.evaluate(
        "(node) => { getSelection().selectAllChildren(node); return String(getSelection()); }"
    )

    assert "INFO starting\nepoch 1/300 loss 0.5\nepoch 2/300" in text


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "UTC"),
        ("Asia/Seoul", "UTC+9"),
        ("America/St_Johns", "UTC−"),
        ("Asia/Kolkata", "UTC+5:30"),
    ],
)
def test_times_are_local_with_their_zone(chromium, server, printed, zone, shown):
    context = chromium.new_context(base_url=server.url, timezone_id=zone)
    page = context.new_page()
    page.goto(f"/ui/experiments/{printed}")
    ended = page.locator("#times time").last
    expect(ended).to_have_text(re.compile(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {re.escape(shown)}"))
    expect(ended).to_have_attribute("title", re.compile("just now|ago"))
    if zone == "UTC":
        finished = server.ask("/experiments/printed")["finished_at"]
        assert ended.text_content() == f"{finished[:10]} {finished[11:19]} UTC"
    expect(page.locator("#times")).to_contain_text("Waiting")
    expect(page.locator("#times")).to_contain_text("Training")
    page.goto("/ui?q=printed")
    expect(page.locator("#rows time")).to_have_text(re.compile("just now|ago"))
    context.close()


@pytest.fixture
def live(request, server):
    """The id of an experiment that waits for a slot, so that nothing else writes to its folder."""
    names = [f"{name} of {request.function.__name__}" for name in ("first", "second", "waiting")]
    for name in names:
        server.submit(name, learning_rate=0.001, epoch=100_000, dataset="digits.npz")
    yield names[-1]
    for name in reversed(names):
        server.ask(f"/experiments/{name}/cancel", b"")
    server.until_ended(*names)


def test_live_page_keeps_up_with_a_fast_trainer(page, server, live):
    """Five thousand epochs, a few at a time; the controls of the page work meanwhile."""
    folder = server.output_dir / live
    (folder / "logs").mkdir(exist_ok=True)
    page.goto(f"/ui/experiments/{live}")
    expect(page.locator("#times")).to_contain_text("Waiting")
    page.evaluate("window.stayed = true")
    metrics, log = (folder / "metrics.jsonl").open("a"), (folder / "logs" / "1.log").open("a")
    with metrics, log:
        for begin in range(1, 5001, 1000):
            for epoch in range(begin, begin + 1000):
                row = {
                    "epoch": epoch,
                    "loss": 1 / epoch,
                    "accuracy": 1 - 1 / epoch,
                    "seconds": 0.01,
                }
                metrics.write(json.dumps(row) + "\n")
                log.write(f"epoch {epoch} done\n")
            metrics.flush()
            log.flush()
            last = begin + 999
            expect(page.locator("#chart")).to_have_attribute(
                "aria-label", re.compile(rf"at epoch {last}$")
            )
            expect(page.locator("#log .line").last).to_have_text(f"epoch {last} done")
            page.get_by_label("log axis").click()
            expect(page.locator("#state")).to_contain_text(f"{last:,} of 100,000")
    page.get_by_label("Find in the log").fill("epoch 4999 done")
    expect(page.locator("#found")).to_have_text("1 of 1")
    assert page.locator("#log .line").count() <= 5000
    assert page.evaluate("window.stayed")


def test_stream_that_is_lost_goes_on_where_it_was(watched, page, server, live):
    folder = server.output_dir / live
    (folder / "logs").mkdir(exist_ok=True)
    log = folder / "logs" / "1.log"
    log.write_text("one\ntwo\n")
    page.goto(f"/ui/experiments/{live}")
    lines = page.locator("#log .line")
    expect(lines).to_have_text(["one", "two"])
    server.kill()
    expect(page.get_by_text("No connection to the server")).to_be_visible()
    with log.open("a") as file:
        file.write("three\n")
    server.start()

    expect(lines).to_have_text(["one", "two", "three"])
    expect(page.get_by_text("No connection to the server")).to_have_count(0)
    assert all("net::ERR_" in one for one in watched.complaints)
    watched.complaints.clear()


def test_log_of_each_worker(chromium, tmp_path):
    model = tmp_path / "models" / "pair"
    model.mkdir(parents=True)
    (model / "model.yaml").write_text("{nodes: 2, description: Two processes}")
    (model / "train.py").write_text(TRAINER_OF_A_GANG)
    with (
        serving(tmp_path, MODELS_DIR=str(tmp_path / "models")) as server,
        watching(chromium, server) as watched,
    ):
        shown = server.submit("both", model="pair", learning_rate=0.001, epoch=1)
        assert shown["nodes"] == 2
        server.until_ended("both")
        page = watched.page
        page.goto("/ui/experiments/both")
        lines = page.locator("#log .line")
        expect(lines).to_have_text(["of worker 0 of 2"])
        expect(page.locator("dt", has_text="Nodes")).to_be_visible()

        page.get_by_label("Worker").select_option("1")
        expect(lines).to_have_text(["of worker 1 of 2"])
        with page.expect_download() as begun:
            page.locator("#log-download").click()
        assert begun.value.suggested_filename == "both-1-worker-1.log"
        page.get_by_label("Worker").select_option("0")
        expect(lines).to_have_text(["of worker 0 of 2"])
        assert watched.findings() == []
