"""What one node does to the two folders: write a file, read those of the others, remove all.

In a cluster this module is the program of a pod on the node; its result is the termination message.
It imports the standard library alone and starts at once.
"""

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = ".hello-flask-preflight"  # in both folders; a data set's name never begins with a dot
FOLDERS = {"input": Path("/input"), "output": Path("/output")}
WRITES = 20  # small files, of whose durations the median is taken
MAX_NAMES = 10  # of other nodes in a result: a termination message has at most 4 kB
MESSAGE = Path("/dev/termination-log")


def write(folder: Path, run: str, node: str) -> dict[str, Any]:
    """Write the file of this node, and measure.

    Returns:
        `error` if that fails; otherwise `free` (bytes) and `latency` (the median seconds until a
        small file is written, on the disk and renamed). `owner` and `mode` of the folder if it can
        be read at all.
    """
    found: dict[str, Any] = {}
    try:
        about = folder.stat()
        found |= {"owner": f"{about.st_uid}:{about.st_gid}", "mode": f"{about.st_mode & 0o7777:o}"}
        own = folder / FOLDER / run
        own.mkdir(parents=True, exist_ok=True)
        durations = [
            _write_durably(own / node, f"{run} {node} {number}") for number in range(WRITES)
        ]
        space = os.statvfs(folder)
        found |= {
            "latency": statistics.median(durations),
            "free": space.f_bavail * space.f_frsize,
        }
    except OSError as error:
        found["error"] = error.strerror or str(error)
    return found


def read(folder: Path, run: str, nodes: Sequence[str]) -> dict[str, Any]:
    """Read the files of these nodes.

    Returns:
        `unseen`, the first nodes whose files are not there or hold something else, and their
        number, `unseen_count`.
    """
    expected = {node: f"{run} {node} {WRITES - 1}" for node in nodes}
    unseen = [
        node for node, text in expected.items() if _text(folder / FOLDER / run / node) != text
    ]
    return {"unseen": unseen[:MAX_NAMES], "unseen_count": len(unseen)}


def remove(folder: Path, run: str, _nodes: Sequence[str] = ()) -> dict[str, Any]:
    """Remove what the run has written; what another node removes meanwhile is no error."""
    shutil.rmtree(folder / FOLDER / run, ignore_errors=True)
    with suppress(OSError):  # another run is using it, or it is gone
        (folder / FOLDER).rmdir()
    return {}


def probe(step: str, run: str, node: str, nodes: Sequence[str], folders: dict[str, Path]) -> Any:
    """Return what came of a step (`write`, `read` or `remove`), by the name of the folder."""
    result: dict[str, Any] = {"uid": os.getuid()}
    for name, folder in folders.items():
        if step == "write":
            result[name] = write(folder, run, node)
        else:
            result[name] = (read if step == "read" else remove)(folder, run, nodes)
    return result


def main() -> None:
    """Carry out the step that the command line names: STEP RUN NODE [OTHER_NODE...]."""
    step, run, node, *nodes = sys.argv[1:]
    text = json.dumps(probe(step, run, node, nodes, FOLDERS))
    print(text)
    MESSAGE.write_text(text)


def _write_durably(path: Path, text: str) -> float:
    """Write a file as run.json is written, and return the seconds that it took."""
    begun = time.perf_counter()
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return time.perf_counter() - begun


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


if __name__ == "__main__":
    main()
