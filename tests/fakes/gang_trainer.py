"""A worker of a gang that does what the files in its output folder say. Uses no PyTorch.

It writes what it was started with to `worker-N.json`, prints a line, and waits for `order-N`, whose
content is `exit CODE` or `kill`. On SIGTERM it writes `stopped-N` and exits with 143.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(os.environ["OUTPUT_DIR"])
rank = os.environ["NODE_RANK"]
NAMES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "NNODES", "EXPERIMENT_ID")


def stop(_number, _frame):
    """Leave a trace, and end as a trainer does that has saved its checkpoint."""
    (folder / f"stopped-{rank}").touch()
    os._exit(143)


signal.signal(signal.SIGTERM, stop)
print(f"worker {rank} begins", flush=True)
variables = {name: os.environ.get(name) for name in NAMES}
about = variables | {"pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid()}
temporary = folder / f".worker-{rank}"
temporary.write_text(json.dumps(about))
temporary.replace(folder / f"worker-{rank}.json")
while not (folder / f"order-{rank}").exists():
    time.sleep(0.02)
word, _, code = (folder / f"order-{rank}").read_text().partition(" ")
if word == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
print(f"worker {rank} ends with {code}", flush=True)
sys.exit(int(code))
