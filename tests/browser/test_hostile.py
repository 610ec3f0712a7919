"""Markup in names and in trainers' files is shown as text, and no script in it runs."""

import json
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

MARKUP = "<img src=x onerror=alert(1)>"
SCRIPT = "</script></title></pre><script>alert(1)</script>"
HOSTILE = f"\"'>{MARKUP}{{{{7*7}}}}"  # an id cannot contain '/'
KEYS = [f"val_loss {MARKUP}", f"loss {SCRIPT}", "constructor", "__proto__", "toString"]
SVG = "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>"
FILES = {
    "page.html": f"<html><body onload='alert(1)'>{SCRIPT}</body></html>",
    "drawing.svg": SVG,
    f"{MARKUP}.png": SVG,
    f"{MARKUP}.csv": f"{MARKUP},{MARKUP}\n{MARKUP},1\n{MARKUP},2\n",
    "page.csv": f"{SCRIPT}\n1\n2\n",
}


@pytest.fixture(scope="module")
def hostile(server):
    """The ids of two experiments whose files a hostile trainer has written."""
    ids = HOSTILE, "javascript:alert(1)"
    for experiment_id in ids:
        server.submit(experiment_id, learning_rate=0.001, epoch=1)
    server.until_ended(*ids)
    for number, experiment_id in enumerate(ids):
        folder = server.output_dir / experiment_id
        for name, content in FILES.items():
            (folder / name).write_text(content)
        keys = KEYS[: 2 if number else None]  # both experiments have different metrics
        rows = [{"epoch": epoch} | dict.fromkeys(keys, epoch) for epoch in range(1, 30)]
        rows[-1]["note"] = MARKUP
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "logs" / "1.log").write_text(f"{MARKUP}\n\x1b[31m{SCRIPT}\x1b[0m ]]> <!-- \n")
    return ids


def expect_panels(page, names):
    """Expect a panel for each metric, with its name as text and a chart."""
    panels = page.locator("#chart .panel")
    expect(panels).to_have_count(len(names))
    assert set(panels.locator(".metric").all_text_contents()) == set(names)
    for panel in panels.all():
        panel.scroll_into_view_if_needed()
        expect(panel.locator(".u-over")).to_be_visible()


def test_page_of_an_experiment(page, hostile):
    page.goto(f"/ui/experiments/{quote(hostile[0], safe='')}")

    expect(page.get_by_role("heading", level=1)).to_have_text(hostile[0])
    expect(page.locator("#log")).to_contain_text(MARKUP)
    expect(page.locator("#log")).to_contain_text(SCRIPT)
    expect(page.locator("#metrics")).to_contain_text(KEYS[0])
    expect(page.locator("#metrics dd").last).to_have_text(MARKUP)
    expect(page.locator("#files")).to_contain_text(f"{MARKUP}.csv")
    expect(page.get_by_role("img", name="reconstructions.png")).to_be_visible()
    expect(page.locator("#previews").get_by_role("columnheader", name=MARKUP).first).to_be_visible()
    expect_panels(page, [key.removeprefix("val_") for key in KEYS])
    for legend, name in zip(
        page.locator("#chart .panel").all(), page.locator("#chart .metric").all(), strict=True
    ):
        expect(legend.locator(".u-legend")).to_contain_text(name.text_content())


@pytest.mark.parametrize("name", [*FILES, "metrics.jsonl", "logs/1.log", "run.json"])
def test_files_in_the_viewer(watched, page, hostile, name):
    page.goto(f"/ui/experiments/{quote(hostile[0], safe='')}")
    page.locator("#files").get_by_role("link", name=name, exact=True).click()
    content = page.locator("#viewer-content")

    if name.endswith(".png"):
        expect(content).to_have_text("This file is not a picture that can be shown.")
    elif name == "run.json":
        expect(content).to_contain_text('"experiment_id": ')
    else:
        expect(content).to_contain_text("onload" if name == "drawing.svg" else "alert(1)")
    assert content.locator("script, img, svg, a, [onload], [onerror]").count() == 0
    watched.complaints.clear()


def test_pages_of_several_experiments(page, hostile):
    one, other = (quote(name, safe="") for name in hostile)
    page.goto(f"/ui/compare?id={other}&id={one}")
    expect_panels(page, KEYS)
    expect(page.locator(".u-legend").first).to_contain_text(HOSTILE)
    expect(page.locator("#facts")).to_contain_text(KEYS[0])

    page.goto("/ui")
    expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    page.goto(f"/ui/new?from={one}")
    expect(page.locator(".lead")).to_contain_text(HOSTILE)
    page.goto(f"/ui?q={one}&status=succeeded")
    expect(page.get_by_label("Part of the name")).to_have_value(HOSTILE)


def test_addresses_with_markup(watched, page):
    for path in ("experiments/", "new?from=", "compare?id=a&id=", "?status=", "nothing/"):
        page.goto(f"/ui/{path}{quote(SCRIPT, safe='')}".replace("/ui/?", "/ui?"))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    watched.refused(404, 422)


def test_api_answers_run_no_scripts(page, hostile):
    root = f"/experiments/{quote(hostile[0], safe='')}"
    for path in ("", "/logs", "/metrics", "/files"):
        page.goto(root + path)
        assert page.evaluate("document.scripts.length") == 0
    for name in ("page.html", "drawing.svg", f"{quote(MARKUP)}.png"):
        page.goto("/ui")
        with page.expect_download() as download:
            page.evaluate("(url) => { location.href = url; }", f"{root}/files/{name}")
        assert download.value.suggested_filename.endswith(name.rpartition(".")[2])
