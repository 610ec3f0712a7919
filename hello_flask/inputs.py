"""The data sets of a server."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from hello_flask.downloads import Progress, save
from hello_flask.errors import HelloFlaskError
from hello_flask.transport import Transport


class Inputs:
    """The data sets in the input folder, which all experiments share."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Sequence[Mapping[str, Any]]:
        """Return the `name`, `size` (bytes), `modified` and `etag` of each data set."""
        found: Sequence[Mapping[str, Any]] = self._transport.ask("GET", "/inputs")[0]
        return found

    def put(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Mapping[str, Any]:
        """Upload a file, and return the data set. An upload that breaks off leaves nothing behind.

        Args:
            path: the file, `.npz`, `.npy` or `.csv`.
            name: of the data set; by default that of the file.
            overwrite: whether to replace a data set of this name.
            progress: called with the bytes so far, and in all.

        Raises:
            HelloFlaskError: the file cannot be read.
            Conflict: there is a data set of this name, and `overwrite` is not set.
        """
        source = Path(path)
        query = [("overwrite", "true")] if overwrite else None
        address = f"/inputs/{quote(name or source.name, safe='')}"
        try:
            if not source.is_file():
                raise HelloFlaskError(f"{source} is not a file.")
            file = source.open("rb")
        except OSError as error:
            raise HelloFlaskError(f"{source} cannot be read: {error.strerror}.") from error
        with file:
            body = _Body(file, progress)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(body.size),
            }
            with self._transport.open("PUT", address, query, body, headers) as answer:
                found: Mapping[str, Any] = self._transport.parsed(answer)
        return found

    def get(
        self,
        name: str,
        to: str | os.PathLike[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Path:
        """Download a data set to a file, which is replaced, or into a folder; return the file."""
        return save(self._transport, f"/inputs/{quote(name, safe='')}", name, to, progress)

    def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a data set; one that live experiments use only with `force`."""
        query = [("force", "true")] if force else None
        self._transport.ask("DELETE", f"/inputs/{quote(name, safe='')}", query)


class _Body:
    """A file as it was when it was opened: what is appended to it later is not sent.

    Attributes:
        size: in bytes.
    """

    def __init__(self, file: IO[bytes], progress: Progress | None) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._file, self._progress = file, progress

    def read(self, size: int = -1) -> bytes:
        left = self.size - self._file.tell()
        piece = self._file.read(left if size < 0 else min(size, left))
        if self._progress:
            self._progress(self._file.tell(), self.size)
        return piece
