"""A trainer that does what the test tells it, through the FIFO `orders` in the run's folder.

Orders, one a line: `print TEXT`, `exit CODE`, `ignore SIGTERM`, `child` (starts a process of its
own that ignores SIGTERM and writes its id to `child`).
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

STUBBORN = (
    "import os, pathlib, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path('child').write_text(str(os.getpid())); signal.pause()"
)


def stop(_signal, _frame):
    Path("stopped").touch()
    sys.exit(143)


signal.signal(signal.SIGTERM, stop)
Path("environment.json").write_text(json.dumps(dict(os.environ)))
with Path("starts").open("a") as starts:
    starts.write(f"{os.getpid()}\n")
orders = Path("orders")
if not orders.exists():
    os.mkfifo(orders)
# Open for writing too: between two orders there is no end of the file.
with os.fdopen(os.open(orders, os.O_RDWR | os.O_NOCTTY), encoding="utf-8") as lines:
    for order in lines:
        match order.split(maxsplit=1):
            case ["print", text]:
                print(text, end="")
            case ["exit", code]:
                sys.exit(int(code))
            case ["ignore", _]:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case ["child"]:
                subprocess.Popen([sys.executable, "-c", STUBBORN])
