"""The dashboard in Korean: no English is left on any page, except names and codes."""

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import serving, submit_two, watching
from tests.integration.waiting import eventually

SWEEP = "korean-sweep"
PAGES = {
    "list": "/ui",
    "all columns": "/ui?columns=tags&columns=by&columns=model&columns=size&columns=duration"
    "&columns=epoch&columns=last&columns=best&columns=curve&columns=progress&columns=created_at",
    "nothing found": "/ui?q=nothing",
    "wrong filter": "/ui?where=epoch",
    "new": "/ui/new?from=pair 1",
    "new classifier": "/ui/new?model=classifier",
    "new convolutional": "/ui/new?model=conv-autoencoder",
    "experiment": "/ui/experiments/pair 1",
    "compare": "/ui/compare?id=pair 1&id=pair 2",
    "too few": "/ui/compare?id=pair 1",
    "plots": "/ui/plots?group=tags",
    "data": "/ui/inputs",
    "data set": "/ui/inputs/digits.npz",
    "sweeps": "/ui/sweeps",
    "sweep": f"/ui/sweeps/{SWEEP}",
    "new sweep": "/ui/sweeps/new?from=pair 1",
    "new sweep of a model": "/ui/sweeps/new?model=classifier",
    "nobody": "/ui/experiments/nobody",
    "nowhere": "/ui/nowhere",
    "front door": "/",
}
REFUSED = {"wrong filter": 422, "too few": 422, "nobody": 404, "nowhere": 404}
# Every text of a page, shown or not, but for logs, code, and what people and trainers have written.
TEXTS = """
() => {
  const foreign = "script, style, pre, code, textarea, .markdown, #previews, #files, svg text";
  const found = [document.title];
  const nodes = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ALL);
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    if (!element?.closest || element.closest(foreign)) continue;
    if (node.nodeType === Node.TEXT_NODE) found.push(node.textContent);
    else for (const name of ["title", "placeholder", "alt", "aria-label"]) {
      found.push(element.getAttribute?.(name) ?? "");
    }
  }
  return found.map((text) => text.trim()).filter(Boolean);
}
"""
NAMES = re.compile(
    # Experiments, files, models, metrics and parameters of this test.
    r"pair \d( \d)?|korean-sweep(-\d+)?|nobody|digits\.npz|(conv-)?autoencoder|classifier|MLP"
    r"|(metrics\.)?(val_)?(loss|seconds|accuracy|f1|psnr|epoch)(\.min|\.max|\.last)?"
    r"|learning_rate<0.01 and|learning_rate|[Bb]atch size|[Cc]ode|[Hh]idden|[Ss]eed"
    r"|[Vv]alidation share|Depth|Filters|Layers|Mixed precision|Dropout|Target|Channels|Layout"
    r"|Noise|float\d+|uint8|autoencoder_\w+|(sha256:)?[0-9a-f]{12,64}"
    r"|[\w./-]*python[\w.]*|\S*train\.py|https?://\S+"
    # Terms and codes, which Korean engineers use as they are.
    r"|hello-flask|Hello Flask!|English|API|CSV|JSON|HTML|Markdown|UTC|SHA-256|zip|curl|token"
    r"|\.?(npz|npy|csv)|input|output|Trial|trial|[Ee]poch|X축|Adam|CPU|NaN|GET|POST|PED-ANOVA"
    r"|tpe|grid|random|qmc|asha|median|none|minimize|maximize|auto|channels_first|channels_last"
    r"|true|false|dropout|macro F1|bfloat16|PyTorch|GPU|target|label|class|MB|kB|KiB|route"
)
ENGLISH = re.compile(r"[A-Za-z]{2,}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of its own: names that other tests choose may be English."""
    with serving(tmp_path_factory.mktemp("korean")) as server:
        yield server


@pytest.fixture(scope="module")
def two_experiments(server):
    return submit_two(server)


@pytest.fixture(scope="module")
def sweep(server):
    form = {"sweep_id": SWEEP, "epoch": "3", "learning_rate": "0.001..0.1", "trials": "3"}
    form |= {"method": "random", "stop": "none"}
    server.ask("/sweeps", urlencode(form).encode())
    eventually(lambda: server.ask(f"/sweeps/{SWEEP}")["finished_at"], 180)  # each starts PyTorch
    return SWEEP


@pytest.fixture
def korean(chromium, server):
    """The page of a person whose browser asks for Korean."""
    with watching(chromium, server, locale="ko-KR", timezone_id="Asia/Seoul") as watched:
        yield watched


def english(page):
    """Return the texts of a page with English words that are no names and no codes."""
    return [text for text in page.evaluate(TEXTS) if ENGLISH.search(NAMES.sub(" ", text))]


@pytest.mark.parametrize("name", PAGES)
def test_no_english_is_left(korean, two_experiments, sweep, name):
    page = korean.page
    page.goto(PAGES[name])
    page.wait_for_load_state("networkidle" if name == "front door" else "load")
    if name in ("experiment", "compare"):
        page.locator("#chart .u-over").first.wait_for()
    if name in REFUSED:
        korean.refused(REFUSED[name])

    assert page.locator("html").get_attribute("lang") == "ko"
    assert english(page) == []
    assert korean.findings() == []


def test_texts_of_scripts(korean, two_experiments):
    page = korean.page
    page.goto("/ui?q=pair")
    expect(page.locator("#rows time").first).to_have_text(re.compile(r"(\d+(분|시간|일)|방금) 전"))
    page.locator("#rows input").first.check()
    expect(page.locator(".selection span")).to_have_text(
        "실험 1개 선택됨. 비교하려면 하나 더 선택하세요."
    )
    page.get_by_role("button", name="삭제 1").click()
    assert english(page) == []


def test_problem_of_a_form(korean, two_experiments):
    page = korean.page
    page.goto("/ui/new")
    page.locator("#learning_rate").fill("fast")
    page.get_by_role("button", name="실험 시작").click()
    expect(page.locator("#learning_rate-error")).to_have_text(
        "허용되는 값: 0보다 크고 10 이하인 숫자(예: 0.001). 보낸 값: 'fast'."
    )
    korean.refused(422)


def test_switch(korean, two_experiments):
    page = korean.page
    page.goto("/ui?q=pair")
    page.get_by_role("button", name="English").click()
    page.wait_for_url("**/ui?q=pair")
    expect(page.get_by_role("heading", name="Experiments")).to_be_visible()
    page.goto("/ui/inputs")
    expect(page.get_by_role("heading", name="Data")).to_be_visible()
    page.get_by_role("button", name="한국어").click()
    expect(page.get_by_role("heading", name="데이터")).to_be_visible()
