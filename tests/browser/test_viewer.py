"""The viewer of files: what it shows of each kind, how much it reads, and the keyboard."""

import json

import pytest
from playwright.sync_api import expect

FILES = {
    "report.json": json.dumps(
        {"loss": 0.1, "big": 2**60 + 1, "list": [1, {"a": []}], "이름": "값"}
    ),
    "broken.json": '{"loss": NaN}',
    "deep.json": "[" * 100_000 + "]" * 100_000,
    "notes.txt": "one\ntwo " + "x" * 50_000 + "\n",
    "empty.txt": "",
    "table.csv": 'name,"a, b"\n' + "".join(f'row {n},"{n}, ""{n}"""\n' for n in range(1500)),
    "table.tsv": "a\tb\n1,5\t2\n",
    "train.log": "\x1b[1;31mfailed\x1b[0m plain\n10%\r100%\n\x1b[38;5;196mindexed\x1b[0m\n",
    "large.txt": "line of text\n" * 200_000,
    "weights.bin": "\x00\x01binary",
}


@pytest.fixture(scope="module")
def shelf(server):
    """The id of an experiment whose folder holds FILES."""
    server.submit("shelf", learning_rate=0.001, epoch=1)
    server.until_ended("shelf")
    for name, content in FILES.items():
        (server.output_dir / "shelf" / name).write_text(content)
    return "shelf"


@pytest.fixture
def open_file(page, shelf):
    page.goto(f"/ui/experiments/{shelf}")

    def open_file(name):
        page.locator("#files").get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        expect(page.locator("#viewer-note")).not_to_have_text("Loading …")
        return page.locator("#viewer-content")

    return open_file


def test_json_is_indented_and_numbers_stay(open_file):
    text = open_file("report.json").inner_text().replace("\u00a0", " ").rstrip()

    assert text.split("\n")[:4] == ["{", '  "loss": 0.1,', f'  "big": {2**60 + 1},', '  "list": [']
    assert '"a": []' in text
    assert json.loads(text) == json.loads(FILES["report.json"])


def test_what_is_not_json_is_shown_as_it_is(page, open_file):
    expect(open_file("broken.json")).to_contain_text('{"loss": NaN}')
    expect(page.locator("#viewer-note")).to_contain_text("not valid JSON")


def test_deep_json_is_bounded(open_file):
    content = open_file("deep.json")

    assert content.locator(".line").count() <= 20_000
    assert len(content.text_content()) < 2_500_000


def test_long_lines_are_wrapped_on_request_and_cut(page, open_file):
    content = open_file("notes.txt")
    expect(content).to_contain_text("40,004 more characters")
    assert content.evaluate("(node) => node.scrollWidth <= node.clientWidth")
    page.locator("#viewer").get_by_label("wrap").uncheck()
    assert content.evaluate("(node) => node.scrollWidth > node.clientWidth")


def test_first_thousand_rows_of_a_table(page, open_file):
    content = open_file("table.csv")

    expect(content.locator("tbody tr")).to_have_count(1000)
    expect(content.locator("thead th")).to_have_text(["name", "a, b"])
    expect(content.locator("tbody tr").last.locator("td")).to_have_text(
        ["1000", "row 999", '999, "999"']
    )
    expect(page.locator("#viewer-note")).to_have_text("the first 1,000 rows")


def test_table_with_tabs(open_file):
    expect(open_file("table.tsv").locator("tbody td")).to_have_text(["1", "1,5", "2"])


@pytest.mark.parametrize(
    ("name", "note"),
    [("empty.txt", "This file is empty."), ("weights.bin", "This file is not text: download it.")],
)
def test_nothing_to_show(page, open_file, name, note):
    expect(open_file(name)).to_be_empty()
    expect(page.locator("#viewer-note")).to_have_text(note)


def test_log_file_has_colours_and_no_sequences(open_file):
    content = open_file("train.log")

    expect(content.locator(".line")).to_have_text(["failed plain", "100%", "indexed"])
    expect(content.locator(".ansi-1.ansi-31")).to_have_text("failed")


def test_log_of_an_attempt_is_that_of_the_server(page, server, open_file):
    (server.output_dir / "shelf" / "logs" / "1.log").write_text("\x1b[38;5;196mred\x1b[0m\n1\r2\n")
    content = open_file("logs/1.log")

    expect(content.locator(".line")).to_have_text(["red", "2"])
    expect(content.locator(".ansi-31")).to_have_text("red")


def test_no_more_than_the_beginning_is_read(page, open_file):
    ranges = []
    page.on(
        "request", lambda one: ranges.append(one.headers.get("range")) if "large" in one.url else 0
    )
    open_file("large.txt")

    expect(page.locator("#viewer-note")).to_have_text("the first 20,000 lines")
    assert ranges == [f"bytes=0-{512 * 1024}"]


def test_reading_stops_where_a_proxy_ignores_ranges(page, open_file):
    def answer(route):
        headers = route.request.headers
        headers.pop("range")
        route.fulfill(response=route.fetch(headers=headers))

    page.route("**/files/large.txt", answer)
    open_file("large.txt")
    page.locator("#viewer-note").get_by_text("the first").wait_for()

    assert len(page.locator("#viewer-content").text_content()) <= 512 * 1024


def test_picture(page, open_file):
    image = open_file("reconstructions.png").get_by_role("img", name="reconstructions.png")

    page.wait_for_function("image => image.naturalWidth > 100", arg=image.element_handle())


def test_keyboard_and_focus(watched, page, open_file):
    page.locator("#files").get_by_role("link", name="notes.txt").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="notes.txt")).to_be_visible()
    focused = "document.activeElement.id"
    expect(page.locator("#viewer-close")).to_be_focused()
    for expected in ("viewer-content", "viewer-wrap"):
        page.keyboard.press("Tab")
        while page.evaluate(focused) == "":  # the browser's own controls
            page.keyboard.press("Tab")
        assert page.evaluate(focused) == expected
    assert watched.findings() == []
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#files").get_by_role("link", name="notes.txt")).to_be_focused()


def test_focus_returns_although_the_list_was_replaced(page, server, open_file):
    open_file("notes.txt")
    (server.output_dir / "shelf" / "another.txt").write_text("new")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#files")).to_contain_text("another.txt")
    page.keyboard.press("Escape")

    expect(page.locator("#files").get_by_role("link", name="notes.txt")).to_be_focused()


def test_download_from_the_viewer(page, open_file):
    open_file("table.csv")
    with page.expect_download() as download:
        page.locator("#viewer").get_by_role("link", name="Download").click()

    assert download.value.suggested_filename == "table.csv"
    assert download.value.path().read_text() == FILES["table.csv"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["table.csv", "report.json", "train.log"])
def test_no_serious_finding(watched, page, open_file, name, scheme):
    page.emulate_media(color_scheme=scheme)
    open_file(name)

    assert watched.findings() == []
