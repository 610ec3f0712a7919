import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tools import audit

LOCK = f"jinja2==3.1.6 --hash=sha256:{'0' * 64}\n"
KNOWN = ("jinja2", "2.4.1")
ADVISORY = {
    "id": "PYSEC-0000-1",
    "modified": "2020-01-01T00:00:00Z",
    "details": "An advisory of this test.",
    "affected": [{"package": {"name": "jinja2", "ecosystem": "PyPI"}, "versions": ["3.1.6"]}],
}


@contextmanager
def database(*vulnerable: tuple[str, str]) -> Iterator[str]:
    """Answer like OSV's POST /v1/query, with an advisory for each of the releases."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_vulnerable = (query["package"]["name"], query["version"]) in vulnerable
            body = json.dumps({"vulns": [ADVISORY]} if is_vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "requirements.lock"
    file.write_text(LOCK)
    monkeypatch.setattr("sys.argv", ["audit", str(file)])
    return file


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize(
    ("vulnerable", "code"),
    [([KNOWN], 0), ([KNOWN, ("jinja2", "3.1.6")], 1)],
    ids=["clean", "found"],
)
def test_known_vulnerability_fails(
    vulnerable: list[tuple[str, str]],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with database(*vulnerable) as url:
        monkeypatch.setattr(audit, "OSV_URL", url)
        assert audit.main() == code
    printed = "".join(capfd.readouterr())
    assert audit.SKIPPED not in printed
    assert ("PYSEC-0000-1" in printed) == bool(code), printed


@pytest.mark.usefixtures("lock")
def test_empty_database_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with database() as empty:
        monkeypatch.setattr(audit, "OSV_URL", empty)
        monkeypatch.setattr(audit, "PYPI_URL", f"{empty}/not-there")
        assert audit.main() == 0
    assert capsys.readouterr().out == f"{audit.SKIPPED}\n"


def test_all_locks_are_audited() -> None:
    locks = {*audit.ROOT.glob("*.lock"), *audit.ROOT.glob("models/*/*.lock")}
    same_source = audit.ROOT / "models/common/torch-cpu.lock"
    assert {audit.ROOT / lock for lock in audit.LOCKS} == locks - {same_source}
