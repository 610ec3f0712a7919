"""`make demo`: start the server, submit one experiment over HTTP, and show its training."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FIRST_PORT = 31112
START_SECONDS = 30
TRAIN_SECONDS = 300
FORM = {"learning_rate": "0.001", "epoch": "20"}


def main() -> int:
    """Run the demo; return 0 if the experiment has succeeded."""
    port = free_port()
    if port != FIRST_PORT:
        print(f"Port {FIRST_PORT} is in use; using {port} instead.")
    address = f"127.0.0.1:{port}"
    form = FORM | {"experiment_id": time.strftime("demo-%Y%m%d-%H%M%S")}
    with server(address):
        print("$ curl", *(f"-F {name}={value}" for name, value in form.items()), end=" ")
        print(f"http://{address}/test")
        print(post(f"http://{address}/test", form)["message"])
        experiment = follow(f"http://{address}/experiments/{form['experiment_id']}")
    print(json.dumps(experiment, indent=2, ensure_ascii=False))
    folder = ROOT / "output" / form["experiment_id"]
    print(f"\nIts files, in output/{folder.name}/:")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            print(f"  {path.stat().st_size:>9,} B  {path.relative_to(folder)}")
    print("\nTo keep the server running:  make run")
    print(f"Then open the dashboard at http://{address}/ui/experiments/{folder.name}")
    return 0 if experiment["status"] == "succeeded" else 1


def free_port() -> int:
    """Return the first free port from 31112 on."""
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    sys.exit(f"error: none of the ports {FIRST_PORT} to {FIRST_PORT + 99} is free")


@contextmanager
def server(address: str) -> Iterator[None]:
    """Serve at `address` (HOST:PORT), with SQLite and local processes, during the block."""
    environment = {"BIND": address, "LAUNCHER": "local"}
    for name in ("PATH", "HOME", "LANG", "TMPDIR"):
        if name in os.environ:
            environment[name] = os.environ[name]
    command = [sys.executable, "-m", "backend", "serve"]
    log_path = ROOT / "data" / "demo.log"
    log_path.parent.mkdir(exist_ok=True)
    with log_path.open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            wait_until_ready(address, process)
            yield
        finally:
            process.terminate()
            process.wait()


def wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait for /readyz; exit with the end of the log if the server does not start."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            get(f"http://{address}/readyz")
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"error: the server does not start; data/demo.log ends with:\n{log_tail()}")


def log_tail() -> str:
    """Return the last lines of the server's log."""
    return "\n".join((ROOT / "data" / "demo.log").read_text().splitlines()[-5:])


def follow(url: str) -> dict[str, Any]:
    """Print a line per epoch until the experiment has ended, and return it."""
    metrics = Path(ROOT, "output", url.rpartition("/")[2], "metrics.jsonl")
    shown = 0
    deadline = time.monotonic() + TRAIN_SECONDS
    while time.monotonic() < deadline:
        experiment = get(url)  # before the metrics, which are complete once it has ended
        text = metrics.read_text() if metrics.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()
        for line in map(json.loads, lines[shown:]):
            print(
                f"  epoch {line['epoch']:>3} of {experiment['epoch']}"
                f"   loss {line['loss']:.5f}   val_loss {line['val_loss']:.5f}",
                flush=True,
            )
        shown = len(lines)
        if experiment["finished_at"]:
            return experiment
        time.sleep(0.1)
    sys.exit(f"error: the experiment has not ended after {TRAIN_SECONDS} s: see {url}")


def get(url: str) -> dict[str, Any]:
    """GET a JSON object, and return it."""
    with urllib.request.urlopen(url, timeout=10) as response:
        content: dict[str, Any] = json.load(response)
    return content


def post(url: str, form: dict[str, str]) -> dict[str, Any]:
    """POST form-data, as `curl -F` does, and return the JSON object of the answer."""
    boundary = "hello-flask-demo"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form.items()
    ]
    body = f"{''.join(parts)}--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        content: dict[str, Any] = json.load(response)
    return content


if __name__ == "__main__":
    sys.exit(main())
