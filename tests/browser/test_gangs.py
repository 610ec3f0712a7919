"""An experiment of several nodes: its page shows how many, and the log of each worker."""

from playwright.sync_api import expect

from tests.browser.conftest import serving, watching

TRAINER = """
import os
print("of worker", os.environ["NODE_RANK"], "of", os.environ["NNODES"])
"""


def test_log_of_each_worker(chromium, tmp_path):
    model = tmp_path / "models" / "pair"
    model.mkdir(parents=True)
    (model / "model.yaml").write_text("{nodes: 2, description: Two processes}")
    (model / "train.py").write_text(TRAINER)
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
