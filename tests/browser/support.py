"""The server of the browser tests, and a page that records what goes wrong in it."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.integration.backend_process import free_address
from tests.integration.launcher_harness import kill_local_runs, processes_of
from tests.integration.waiting import eventually

ROOT = Path(__file__).parents[2]
AXE = (ROOT / "tests" / "browser" / "vendor" / "axe-core" / "axe.min.js").read_text()
ALICE, BOB = "alice-s-own-token", "bob-only-reads"
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Server:
    """`python -m backend serve`, which keeps its address when it is started again."""

    def __init__(self, folder, environ):
        self.folder = folder
        self.output_dir = folder / "output"
        self._address = free_address()
        self.url = f"http://{self._address}"
        self._environ = environ | {
            "BIND": self._address,
            "LAUNCHER": "local",
            "LOCAL_SLOTS": "2",
            "DATA_DIR": str(folder / "data"),
            "INPUT_DIR": str(folder / "input"),
            "OUTPUT_DIR": str(self.output_dir),
        }
        self._process = None

    def start(self):
        command = [sys.executable, "-m", "backend", "serve"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._is_ready)

    def kill(self):
        """Kill all its processes at once; trainers continue."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self):
        self.kill()
        kill_local_runs(self.output_dir)

    def submit(self, experiment_id, **fields):
        return self.ask("/test", urlencode({"experiment_id": experiment_id, **fields}).encode())

    def ask(self, path, form=None):
        return self.ask_query(quote(path), form)

    def ask_query(self, path, form=None):
        """Ask for a path with a query, which is quoted already."""
        return json.loads(self._send(path, form))

    def delete(self, experiment_id):
        self._send(quote(f"/experiments/{experiment_id}"), method="DELETE")

    def tag(self, experiment_id, tag):
        self._send(quote(f"/experiments/{experiment_id}/tags/{tag}"), method="PUT")

    def _send(self, path, form=None, **options):
        headers = {"Authorization": f"Bearer {ALICE}"}  # ignored by a server without tokens
        request = urllib.request.Request(f"{self.url}{path}", form, headers, **options)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    @contextmanager
    def slots_taken(self):
        """Let two experiments keep both slots, so that others wait.

        Their processes are stopped: two trainers would take the cores from the browser.
        """
        names = ("busy-1", "busy-2")
        for name in names:
            self.submit(name, learning_rate=0.001, epoch=100_000, dataset="digits.npz")
        paths = [f"/experiments/{name}" for name in names]
        eventually(lambda: all(self.ask(path)["status"] == "running" for path in paths))
        stopped = processes_of(self.output_dir)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            for name in names:
                self.ask(f"/experiments/{name}/cancel", b"")
            self.until_ended(*names)
            for path in paths:
                self._send(f"{path}?outputs=true", method="DELETE")

    def until_ended(self, *ids):
        """Wait until experiments have ended."""
        paths = [f"/experiments/{experiment_id}" for experiment_id in ids]
        eventually(lambda: all(self.ask(path)["finished_at"] for path in paths), 60)

    def write_samples(self, experiment_id, samples=()):
        """Replace the samples of what the first attempt of an experiment has used."""
        folder = self.output_dir / experiment_id / "resources"
        folder.mkdir(exist_ok=True)
        (folder / "1.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in samples))

    def _is_ready(self):
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            return self.ask("/readyz")
        except OSError:
            return False


class Watched:
    """A page, and what goes wrong in it.

    Attributes:
        complaints: script errors, console errors and warnings, and browser dialogs.
        elsewhere: requests to other hosts.
    """

    def __init__(self, page, url):
        self.page, self._url = page, url
        self.complaints, self.elsewhere = [], []
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note_request)
        page.on("dialog", self._note_dialog)

    def findings(self):
        """Return the serious and critical violations that axe-core finds."""
        self.page.evaluate(AXE)
        violations = self.page.evaluate("axe.run().then(({ violations }) => violations)")
        return [
            (violation["id"], violation["nodes"][0]["html"])
            for violation in violations
            if violation["impact"] in ("serious", "critical")
        ]

    def _note_console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location}")

    def refused(self, *statuses):
        """Remove the complaints of the browser's console about answers with these statuses."""
        expected = [f"status of {status} " for status in statuses]
        assert self.complaints, "no request was refused"
        self.complaints[:] = [
            complaint
            for complaint in self.complaints
            if not any(text in complaint for text in expected)
        ]

    def _note_dialog(self, dialog):
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _note_request(self, request):
        if not request.url.startswith((self._url, "data:", "blob:")):
            self.elsewhere.append(request.url)


def drag(page, plot, begin, end):
    """Drag across a plot, from and to shares of its width, once it stays where it is."""
    width = plot.bounding_box()["width"]
    plot.hover(position={"x": width * begin, "y": 50})
    page.mouse.down()
    plot.hover(position={"x": width * end, "y": 50})
    page.mouse.up()


class OtherOrigin:
    """A server of one empty page, whose scripts know another server's address as TARGET."""

    def __init__(self, target):
        page = f'<!doctype html><title>other</title><script>TARGET = "{target}"</script><body>'

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error):
        self._server.shutdown()
        self._server.server_close()
