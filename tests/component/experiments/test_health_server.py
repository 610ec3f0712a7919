import urllib.error
import urllib.request

import pytest

from backend.experiments.health import PATIENCE_SECONDS, Passes, serve_health


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_readyz_states_the_reason():
    clock = Clock()
    passes = Passes(clock)
    server = serve_health("127.0.0.1:0", passes)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with urllib.request.urlopen(f"{url}/readyz") as answer:
        assert answer.status == 200
    passes.failed(0.1, "데이터베이스")
    clock.now = PATIENCE_SECONDS

    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{url}/readyz")
    with refusal.value as answer:
        assert answer.status == 503
        assert "데이터베이스" in answer.read().decode()
    with urllib.request.urlopen(f"{url}/healthz") as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert b"hello_flask_reconcile_failures_total 1.0" in answer.read()
    server.shutdown()
    server.server_close()
