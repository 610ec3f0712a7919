"""What a hostile trainer does to its folder, its output and its memory, drawn at random.

Only the standard library: the image of `make chaos` on a cluster contains this file, too.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

TEBIBYTE = 2**40
LINKS = ("/etc/passwd", "/dev/zero", "..", "/nowhere")


def many_keys(folder: Path, _log: Path) -> None:
    """Write a line with 8,000 metrics."""
    _append(folder, json.dumps({"epoch": 1} | {f"k{n}": n for n in range(8000)}).encode())


def huge_line(folder: Path, _log: Path) -> None:
    """Write a line of 8 MiB."""
    _append(folder, b'{"epoch": 1, "loss": "' + b"x" * 2**23 + b'"}')


def newlines(folder: Path, _log: Path) -> None:
    """Write 4 MB of line ends."""
    _append(folder, b"\n" * 4_000_000)


def absurd_numbers(folder: Path, _log: Path) -> None:
    """Write numbers that nothing can count with, and lines that are no JSON."""
    for text in ("1e308", "-1e308", "1e999", "NaN", "9" * 5000, "[" * 5000, '"\\ud800"'):
        _append(folder, f'{{"epoch": {text}, "loss": {text}, "seconds": {text}}}'.encode())
    _append(folder, b"\xff\xfe\0")


def sparse_log(_folder: Path, log: Path) -> None:
    """Make the log a file of 8 TiB that holds almost nothing."""
    os.truncate(log, 8 * TEBIBYTE)


def sparse_metrics(folder: Path, _log: Path) -> None:
    """Make the metrics a file of 8 TiB."""
    os.truncate(folder / "metrics.jsonl", 8 * TEBIBYTE)


def pipes(folder: Path, log: Path) -> None:
    """Put a FIFO in place of files that are read."""
    for path in (folder / "metrics.jsonl", folder / "sample.png", log):
        path.unlink(missing_ok=True)
        os.mkfifo(path)


def links(folder: Path, log: Path) -> None:
    """Put links in place of files that are read."""
    for path in (folder / "metrics.jsonl", folder / "sample.png", log):
        path.unlink(missing_ok=True)
        path.symlink_to(random.choice(LINKS))


def folders(folder: Path, log: Path) -> None:
    """Put folders in place of files that are read, and nest others a hundred deep."""
    for path in (folder / "metrics.jsonl", log):
        path.unlink(missing_ok=True)
        path.mkdir()
    (folder / "/".join("d" * 100)).mkdir(parents=True)


def locked_folder(folder: Path, _log: Path) -> None:
    """Take all rights to a folder and to a file in it away."""
    locked = folder / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    (locked / "file").chmod(0)
    locked.chmod(0)


def endless_output(_folder: Path, _log: Path) -> None:
    """Print 50 MB, much of it without a line end."""
    for _ in range(50):
        sys.stdout.write("\x1b[2J" + "x" * 2**20 + random.choice(("", "\r", "\n", "\n" * 1000)))


def huge_memory(_folder: Path, _log: Path) -> None:
    """Use memory until there is no more."""
    held = []
    while True:
        held.append(b"x" * 2**24)


DEEDS: tuple[Callable[[Path, Path], None], ...] = (
    many_keys,
    huge_line,
    newlines,
    absurd_numbers,
    sparse_log,
    sparse_metrics,
    pipes,
    links,
    folders,
    locked_folder,
    endless_output,
    huge_memory,
)


def misbehave(folder: Path, attempt: int) -> None:
    """Do one to three of the deeds; what one has made impossible is left out."""
    for deed in random.sample(DEEDS, random.randint(1, 3)):
        if deed is huge_memory and attempt > 1:  # so that a retry can succeed
            continue
        try:
            deed(folder, folder / "logs" / f"{attempt}.log")
        except OSError as error:
            print(f"{deed.__name__}: {error}")


def _append(folder: Path, line: bytes) -> None:
    descriptor = os.open(folder / "metrics.jsonl", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    with os.fdopen(descriptor, "wb") as file:
        file.write(line + b"\n")
