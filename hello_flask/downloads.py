"""Files that are downloaded: complete, or not there."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hello_flask.errors import HelloFlaskError, ServerAway, Unavailable
from hello_flask.transport import Transport

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if that is known


def save(
    transport: Transport,
    address: str,
    name: str,
    to: str | os.PathLike[str] | None,
    progress: Progress | None = None,
) -> Path:
    """Download an address to a file, and return the file.

    Args:
        transport: of the server.
        address: the path of the request.
        name: of the file, if `to` is a folder; a server must not choose another folder by it.
        to: a file, which is replaced, or a folder; None is the current folder.
        progress: called with the bytes so far.

    Raises:
        HelloFlaskError: the file cannot be written.
    """
    target = Path(to) if to is not None else Path()
    if target.is_dir():
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise HelloFlaskError(f"{name!r} cannot be the name of a file: name one.")
        target = target / name
    try:
        with _part_of(target) as (part, file):
            copy(transport, address, file, progress)
            file.flush()
            part.chmod(0o666 & ~_umask())
            part.replace(target)
    except OSError as error:
        raise HelloFlaskError(f"{target} cannot be written: {error.strerror}.") from error
    return target


@contextmanager
def _part_of(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Create a file beside `target` for a `with` block; then remove it, unless it was renamed."""
    import tempfile  # its imports take as long as those of all other modules

    descriptor, path = tempfile.mkstemp(dir=target.parent, prefix=".download.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield Path(path), file
    finally:
        Path(path).unlink(missing_ok=True)


def copy(
    transport: Transport, address: str, file: IO[bytes], progress: Progress | None = None
) -> None:
    """Write what is at an address into a file that can be emptied, from its beginning."""
    pauses = transport.pauses()
    while True:
        file.seek(0)
        file.truncate()
        try:
            with transport.open("GET", address, headers={"Accept": "*/*"}) as answer:
                size = answer.size
                for piece in answer.pieces():
                    file.write(piece)
                    if progress:
                        progress(file.tell(), size)
            return
        except (ServerAway, Unavailable) as error:
            pauses.wait(error)


def _umask() -> int:
    """Return the umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
