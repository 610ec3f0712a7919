"""Make screenshots of every page of the dashboard, with experiments that really train.

They are written to docs/screenshots, and two of them in Korean to docs/screenshots/ko.
"""

import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.server import serving

ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "docs" / "screenshots"
KOREAN_SHOTS = SHOTS / "ko"
MAX_BYTES = 150_000
TRAIN_SECONDS = 600
EXPERIMENTS: list[tuple[str, float, int, str]] = [
    ("digits-lr-0.0003", 0.0003, 60, "digits.npz"),
    ("digits-lr-0.001", 0.001, 60, "digits.npz"),
    ("digits-lr-0.003", 0.003, 60, "digits.npz"),
    ("손글씨 실험 1", 0.01, 60, "digits.npz"),
    ("broken-input", 0.001, 60, "measurements.csv"),
]
LIVE = [("night-run", 0.001, 5000), ("night-run-2", 0.002, 5000), ("stopped-early", 0.01, 9000)]


def main() -> None:
    """Serve, train, and take the screenshots."""
    browser_path = shutil.which("chromium")
    if browser_path is None:
        sys.exit("error: chromium is missing: tools/install-test-services.sh installs it")
    for folder_of_shots in (SHOTS, KOREAN_SHOTS):
        folder_of_shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "input"
        inputs.mkdir()
        shutil.copy(ROOT / "input" / "digits.npz", inputs)
        (inputs / "measurements.csv").write_text("a,b\n1,2\n3,four\n")
        settings = {"LAUNCHER": "local", "INPUT_DIR": str(inputs), "LOCAL_SLOTS": "2"}
        command = [sys.executable, "-m", "backend", "serve"]
        with serving(command, folder, settings) as (url, _), sync_playwright() as playwright:
            try:
                train(url)
                browser = playwright.chromium.launch(
                    executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
                )
                take_all(browser, url)
                browser.close()
            finally:
                for experiment in ask(f"{url}experiments?status=running"):
                    ask(f"{url}experiments/{experiment['experiment_id']}/cancel", method="POST")
                wait_for(url, all_ended)


def train(url: str) -> None:
    """Bring the experiments into the states that the screenshots show."""
    for name, rate, epochs, dataset in EXPERIMENTS:
        submit(url, name, rate, epochs, dataset)
    wait_for(url, all_ended)
    for name, rate, epochs in reversed(LIVE):
        submit(url, name, rate, epochs, "digits.npz")
    wait_for(url, lambda experiments: experiments["stopped-early"]["started_at"])
    ask(f"{url}experiments/stopped-early/cancel", method="POST")
    wait_for(url, lambda experiments: experiments["stopped-early"]["finished_at"])
    for _ in range(20):
        time.sleep(1)
        if ask(f"{url}experiments/night-run-2")["progress"]["epoch"] > 30:
            return


def take_all(browser: Browser, url: str) -> None:
    """Take every screenshot."""
    experiment = "experiments/digits-lr-0.001"
    compared = urlencode([("id", name) for name, *_ in EXPERIMENTS[:4]])
    take(browser, f"{url}ui", "list")
    take(browser, f"{url}ui", "list", language="ko-KR")
    take(browser, f"{url}ui/{experiment}", "experiment", height=920, language="ko-KR")
    take(browser, f"{url}ui/new?from=digits-lr-0.001", "new", height=700)
    take(browser, f"{url}ui/{experiment}", "experiment", height=920)
    take(browser, f"{url}ui/{experiment}", "experiment-dark", scheme="dark")
    take(browser, f"{url}ui/experiments/broken-input", "failed")
    take(browser, f"{url}ui/compare?{compared}", "compare", log_axis=True, whole=True)
    take(browser, f"{url}ui", "list-phone", width=360, height=740)


def take(
    browser: Browser,
    url: str,
    name: str,
    *,
    width: int = 1200,
    height: int = 800,
    scheme: Literal["light", "dark"] = "light",
    whole: bool = False,
    log_axis: bool = False,
    language: Literal["en-GB", "ko-KR"] = "en-GB",
) -> None:
    """Take a screenshot of `width` x `height` CSS pixels, or of the `whole` page."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale=language
    )
    page = context.new_page()
    page.goto(url)
    settle(page)
    if log_axis:
        page.get_by_label("log axis").check()
    folder = SHOTS if language == "en-GB" else KOREAN_SHOTS
    content = page.screenshot(path=folder / f"{name}.png", full_page=whole)
    context.close()
    print(f"{name:<15} {len(content) / 1000:6.1f} kB")
    if len(content) > MAX_BYTES:
        sys.exit(f"error: {name}.png is larger than {MAX_BYTES} bytes")


def settle(page: Page) -> None:
    """Wait until the chart and the images are drawn."""
    if page.locator("#chart").count() and not page.locator(".chip.failed").count():
        page.locator("#chart .u-over").first.wait_for()
    page.wait_for_timeout(1500)
    for image in page.locator("#previews img").all():
        image.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete", arg=image.element_handle())
    page.evaluate("scrollTo(0, 0)")


def submit(url: str, name: str, rate: float, epochs: int, dataset: str) -> None:
    """Submit an experiment."""
    fields = {"experiment_id": name, "learning_rate": rate, "epoch": epochs, "dataset": dataset}
    ask(f"{url}test", urlencode(fields).encode(), method="POST")


def wait_for(url: str, is_met: Callable[[dict[str, Any]], object]) -> None:
    """Wait until a condition on the experiments, by id, is met."""
    deadline = time.monotonic() + TRAIN_SECONDS
    while not is_met({shown["experiment_id"]: shown for shown in ask(f"{url}experiments")}):
        if time.monotonic() > deadline:
            sys.exit(f"error: the experiments take longer than {TRAIN_SECONDS} s")
        time.sleep(0.2)


def all_ended(experiments: dict[str, Any]) -> bool:
    """Return whether all experiments have ended."""
    return all(experiment["finished_at"] for experiment in experiments.values())


def ask(url: str, content: bytes | None = None, *, method: str = "GET") -> Any:
    """Send a request to the API, and return the JSON of its answer."""
    request = urllib.request.Request(url, content, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
