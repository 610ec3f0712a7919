"""A trainer that follows orders from the FIFO `orders` in its experiment's folder.

Orders, one a line: `print TEXT`, `exit CODE`, `allocate BYTES`, `ignore SIGTERM`, `compute`, which
starts a process that keeps a processor busy, and `child`, which starts one that ignores SIGTERM and
writes its process id to the file `child`.
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
# Opened for writing too, so that reading does not reach the end of the file between two orders.
with os.fdopen(os.open(orders, os.O_RDWR | os.O_NOCTTY), encoding="utf-8") as lines:
    for order in lines:
        match order.split(maxsplit=1):
            case ["print", text]:
                print(text, end="")
            case ["exit", code]:
                sys.exit(int(code))
            case ["ignore", _]:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case ["allocate", size]:
                held = b"x" * int(size)
            case ["compute"]:
                subprocess.Popen([sys.executable, "-c", "while True: pass"])
            case ["child"]:
                subprocess.Popen([sys.executable, "-c", STUBBORN])
