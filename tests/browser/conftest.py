"""Fixtures: a real browser on a real server that trains the real model on this machine."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.support import ALICE, BOB, CHROMIUM_ARGUMENTS, Server, Watched
from tests.integration.backend_process import OURS

ROOT = Path(__file__).parents[2]
WAIT_MS = 60_000  # training may wait for the cores of a busy machine

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


@contextmanager
def serving(folder, **variables):
    """Serve from an empty folder, with the digits data set and further environment variables."""
    (folder / "input").mkdir()
    shutil.copy(ROOT / "input" / "digits.npz", folder / "input")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    server = Server(folder, inherited | variables)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    """A server that asks for tokens."""
    tokens = f"alice:{ALICE}\nro:bob:{BOB}"
    with serving(tmp_path_factory.mktemp("guarded"), API_TOKEN=tokens) as server:
        yield server


def started(page, goto):
    """Return `goto` that also waits until the scripts of a page of the dashboard handle clicks.

    The browser does not wait for them: a module that is imported by another one may come later.
    """

    def wait(url, **options):
        answer = goto(url, **options)
        if page.locator("body[data-page]").count():
            page.locator("body[data-started]").wait_for()
        return answer

    return wait


@contextmanager
def watching(chromium, server, locale="en-GB", timezone_id="UTC"):
    """Open a page; fail afterwards on any complaint, and on any request to another host."""
    context = chromium.new_context(base_url=server.url, locale=locale, timezone_id=timezone_id)
    context.set_default_timeout(WAIT_MS)
    watched = Watched(context.new_page(), server.url)
    watched.page.goto = started(watched.page, watched.page.goto)
    yield watched
    context.close()
    assert watched.complaints == []
    assert watched.elsewhere == []


@pytest.fixture
def watched(chromium, server):
    with watching(chromium, server) as watched:
        yield watched


@pytest.fixture
def stranger(chromium, guarded):
    """The page of a person who is not signed in, on the server that asks for tokens."""
    with watching(chromium, guarded) as watched:
        yield watched


@pytest.fixture
def page(watched):
    return watched.page


@pytest.fixture(scope="session")
def two_experiments(server):
    """The ids of two experiments that have succeeded."""
    return submit_two(server)


def submit_two(server):
    """Start two experiments; return their ids once they have succeeded."""
    for number, rate in ((1, 0.001), (2, 0.005)):
        server.submit(f"pair {number}", learning_rate=rate, epoch=12)
    server.until_ended("pair 1", "pair 2")
    return "pair 1", "pair 2"
