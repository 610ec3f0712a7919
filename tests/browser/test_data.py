"""The pages of the data sets: upload with progress, refusal, replacement, deletion, preview."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.support import BOB
from tests.browser.test_access import sign_in

GOOD = b"a,b\n1,2\n3,4\n"
BAD = b"a,b\n1,2\n3,x\n"
DROP = """([name, text]) => {
  const files = new DataTransfer();
  files.items.add(new File([text], name));
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(
      new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }),
    );
  }
}"""


@pytest.fixture
def data(page):
    page.goto("/ui/inputs")
    return page


def row(page, name):
    return page.locator(f'tr[data-name="{name}"]')


def choose(page, name, content):
    page.locator("#files").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content}
    )


def delete(page, name):
    page.get_by_role("button", name=f"Delete {name}").click()
    page.get_by_role("button", name="Delete it", exact=True).click()
    expect(row(page, name)).to_have_count(0)


def test_shipped_data_set(watched, data):
    expect(row(data, "digits.npz")).to_contain_text("1797 × 8 × 8 uint8")
    data.get_by_role("link", name="digits.npz", exact=True).click()
    sheet = data.get_by_role("img", name="The first images of digits.npz")
    expect(sheet).to_be_visible()
    assert sheet.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    data.get_by_role("link", name="Start an experiment with it").click()
    expect(data.get_by_label("Data set")).to_have_value("digits.npz")


def test_drop_replace_and_delete(watched, data):
    data.evaluate(DROP, ["table.csv", GOOD.decode()])
    expect(data.locator("#uploads")).to_contain_text("table.csv is uploaded.")
    expect(row(data, "table.csv")).to_contain_text("2 rows × 2 columns")
    choose(data, "table.csv", GOOD + b"5,6\n")
    expect(data.locator("#uploads li").first).to_contain_text("There is a data set")
    watched.refused(409)
    data.get_by_role("button", name="Replace it").click()
    expect(row(data, "table.csv")).to_contain_text("3 rows × 2 columns")

    with data.expect_file_chooser() as chooser:
        data.get_by_role("button", name="Replace table.csv").click()
    file = {"name": "other.csv", "mimeType": "text/csv", "buffer": GOOD + b"5,6\n7,8\n"}
    chooser.value.set_files(file)
    expect(row(data, "table.csv")).to_contain_text("4 rows × 2 columns")
    delete(data, "table.csv")


def test_unreadable_file(watched, data):
    choose(data, "bad.csv", BAD)
    line = data.locator("#uploads li").first
    expect(line).to_contain_text("could not convert string 'x' to a number: line 3, column b")
    expect(row(data, "bad.csv")).to_have_count(0)
    watched.refused(422)
    line.get_by_role("button", name="Store it as it is").click()
    expect(row(data, "bad.csv")).to_contain_text("no model can read it")
    data.get_by_role("link", name="bad.csv", exact=True).click()
    expect(data.get_by_text("line 3, column b")).to_be_visible()
    data.get_by_role("link", name="Data", exact=True).first.click()
    delete(data, "bad.csv")


def test_data_set_in_use(watched, data, server):
    choose(data, "used.csv", b"a,b\n" + b"1,2\n3,5\n" * 50)
    expect(row(data, "used.csv")).to_be_visible()
    server.submit("user of data", learning_rate=0.001, epoch=100_000, dataset="used.csv")
    data.reload()
    data.get_by_role("button", name="Delete used.csv").click()
    data.get_by_role("button", name="Delete it", exact=True).click()
    expect(data.get_by_role("alert")).to_contain_text("user of data")
    watched.refused(409)
    data.get_by_role("button", name="Delete it nevertheless").click()
    expect(row(data, "used.csv")).to_have_count(0)
    server.ask("/experiments/user of data/cancel", b"")
    data.goto("/ui?dataset=used.csv")
    expect(data.get_by_role("link", name="user of data", exact=True)).to_be_visible()
    expect(data.locator("#rows tr")).to_have_count(1)


def test_read_only_session_is_offered_reading(stranger):
    page = stranger.page
    page.goto("/ui/inputs")
    sign_in(page, BOB)
    expect(row(page, "digits.npz")).to_be_visible()
    expect(page.locator("#drop")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("Delete|Replace"))).to_have_count(0)
    expect(page.get_by_role("link", name=re.compile("Start"))).to_have_count(0)
    stranger.refused(401)
