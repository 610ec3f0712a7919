"""A real browser on the real server, which trains the real model on this machine."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.kit import CHROMIUM_ARGUMENTS, Server, Watched
from tests.integration.backend_process import OURS

ROOT = Path(__file__).parents[2]
WAIT_MS = 30_000

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (tools/install-test-services.sh installs it)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "input").mkdir()
    shutil.copy(ROOT / "input" / "digits.npz", folder / "input")
    server = Server(folder, {k: v for k, v in os.environ.items() if not k.startswith(OURS)})
    server.start()
    yield server
    server.close()


@pytest.fixture
def watched(chromium, server):
    """Give a page; whatever it complains of fails the test, and so does a request elsewhere."""
    context = chromium.new_context(base_url=server.url, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(WAIT_MS)
    watched = Watched(context.new_page(), server.url)
    yield watched
    context.close()
    assert watched.complaints == []
    assert watched.elsewhere == []


@pytest.fixture
def page(watched):
    return watched.page


@pytest.fixture(scope="session")
def two_runs(server):
    """Give the ids of two runs that have succeeded."""
    for number, rate in ((1, 0.001), (2, 0.005)):
        server.submit(f"pair {number}", learning_rate=rate, epoch=12)
    server.until_ended("pair 1", "pair 2")
    return "pair 1", "pair 2"
