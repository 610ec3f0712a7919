"""An HTTP server that answers as a test says, also as no server should."""

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Received(NamedTuple):
    """A request: its method, its path with the query, its headers and its body."""

    method: str
    path: str
    headers: object
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class ScriptedServer:
    """Answers requests, in their order, with functions of the handler.

    Attributes:
        url: its address.
        received: the requests so far.
        answers: what the next requests are answered with; the last one answers all others.
        leaves_bodies: whether requests are answered without reading their bodies.
    """

    def __init__(self):
        self.received, self.answers = [], []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length", 0))
                body = b"" if outer.leaves_bodies else self.rfile.read(length)
                with outer._lock:
                    request = Received(self.command, self.path, self.headers, body)
                    outer.received.append(request)
                    script = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.close_connection = True
                with suppress(ConnectionError):
                    script(self)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *arguments):
                pass

        self.leaves_bodies = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()

    def will(self, *answers):
        """Answer the next requests with these; the last one answers all after it."""
        self.answers[:] = answers

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def sends(document, status=200, **headers):
    """Answer with JSON."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()

    def answer(handler):
        handler.send_response(status)
        for name, value in ({"Content_Length": len(content)} | headers).items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def refuses(status, detail, **headers):
    """Answer with a problem document."""
    return sends({"title": "Refused", "status": status, "detail": detail}, status, **headers)


def breaks(handler):
    """Close the connection without an answer."""


def cuts_off(handler):
    """Announce more than is sent."""
    sends(b'{"half":', Content_Length=1000)(handler)


def streams(*events):
    """Answer with server-sent events, and end without a length."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write("".join(events).encode())

    return answer
