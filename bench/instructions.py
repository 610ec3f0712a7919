"""The number of processor instructions of a request, counted by valgrind's callgrind.

The count does not depend on other work on the machine. It covers the WSGI app without gunicorn.
Run as a program, this module is the process in which instructions are counted.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gunicorn.util import import_app

ROOT = Path(__file__).parents[1]
REQUESTS = 2000
WARM_UP = 200
EMPTY_BODY = Path(os.devnull)


def per_request(
    app: str, path: str, requests: int = REQUESTS, environment: dict[str, str] | None = None
) -> float:
    """Return the number of instructions of one GET request.

    The instructions that the process takes without requests are subtracted.

    Args:
        app: The WSGI app, in gunicorn's notation.
        path: The path of the request.
        requests: How many requests are averaged.
        environment: Settings of the app.
    """
    few, many = (_count(app, path, number, environment or {}) for number in (0, requests))
    return (many - few) / requests


def _count(app: str, path: str, requests: int, environment: dict[str, str]) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise RuntimeError("valgrind is missing: install Debian's package valgrind")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(valgrind, "--tool=callgrind", f"--callgrind-out-file={folder}/out"),
                *(sys.executable, "-m", "bench.instructions", app, path, str(requests)),
            ],
            cwd=ROOT,
            env=os.environ | environment | {"PYTHONHASHSEED": "0"},
            check=True,
            capture_output=True,
            text=True,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(done.stderr)
    return int(found[1])


def main() -> None:
    """Create the app, and send it the requests after a warm-up."""
    app, path, requests = import_app(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    name, _, query = path.partition("?")
    with EMPTY_BODY.open("rb") as body:
        environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": name,
            "QUERY_STRING": query,
            "RAW_URI": path,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "31112",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "127.0.0.1:31112",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": body,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for _ in range(WARM_UP + requests):
            answer: Any = app(dict(environ), lambda *_args: None)
            b"".join(answer)
            if hasattr(answer, "close"):
                answer.close()


if __name__ == "__main__":
    main()
