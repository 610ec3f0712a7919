"""/healthz and /readyz of the reconciler, which serves nothing else."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve_health(address: str, ready: Callable[[], bool]) -> ThreadingHTTPServer:
    """Answer at `address` (HOST:PORT) from a thread: `/healthz` always, `/readyz` if `ready()`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"/healthz": lambda: True, "/readyz": ready}.get(self.path)
            status = 404 if known is None else 200 if known() else 503
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Keep probes out of the log."""

    host, _, port = address.rpartition(":")
    server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
