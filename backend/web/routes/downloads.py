"""Sends files whose content is not trusted, whole or in part."""

import io
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from flask import Response, request

from backend.files.untrusted import Entry, entry_of

PIECE_BYTES = 64 * 1024
# What begins so is shown by a browser; anything else is saved. RFC 2083, 3.1; ITU T.81, B.1.1.3.
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
FIRST_ZIP_TIME = datetime(1980, 1, 1, tzinfo=UTC)
LAST_ZIP_TIME = datetime(2107, 12, 31, tzinfo=UTC)


class CutShort(Exception):
    """A file became shorter while it was sent. The connection ends, so that the client sees it."""


def send(file: BinaryIO, name: str) -> Response:
    """Answer with a regular file as it is now, or with the part that `Range` asks for (RFC 9110).

    `name` is what a browser saves it as. The response closes the file.
    """
    there = entry_of(name, os.fstat(file.fileno()))
    start = file.read(8)
    picture = next((kind for magic, kind in PICTURES.items() if start.startswith(magic)), None)
    file.seek(0)
    response = Response(
        _Content(file, there.size), content_type=picture or "application/octet-stream"
    )
    response.content_length = there.size
    response.last_modified = there.modified
    response.set_etag(there.version)
    response.headers["Content-Disposition"] = disposition(name, inline=picture is not None)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Accept-Ranges"] = "bytes"
    try:
        response.make_conditional(request, True, _range_of(there.size))
    except BaseException:
        file.close()
        raise
    return response


def send_zip(files: Iterable[tuple[Entry, BinaryIO]], name: str) -> Response:
    """Answer with an archive of files, made while it is sent."""
    response = Response(zip_pieces(files), content_type="application/zip")
    response.headers["Content-Disposition"] = disposition(name, inline=False)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def disposition(name: str, *, inline: bool) -> str:
    """Say what a browser does with a file, and its name in any script (RFC 6266, RFC 8187)."""
    kind = "inline" if inline else "attachment"
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    if plain == name:
        return f'{kind}; filename="{name}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def zip_pieces(files: Iterable[tuple[Entry, BinaryIO]]) -> Iterator[bytes]:
    """Give an archive piece by piece; each file is closed when it is done.

    A file that grows meanwhile is cut at the size that it was listed with.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for entry, file in files:
            time = min(max(entry.modified, FIRST_ZIP_TIME), LAST_ZIP_TIME)
            about = zipfile.ZipInfo(entry.path, time.timetuple()[:6])
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with file, archive.open(about, "w", force_zip64=True) as member:
                left = entry.size
                while left and (piece := file.read(min(PIECE_BYTES, left))):
                    left -= len(piece)
                    member.write(piece)
                    yield sink.take()
    yield sink.take()


class _Content:
    """The bytes of a file up to a size: never more, and never silently fewer."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._at = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._at >= self._size:
            raise StopIteration
        piece = self._file.read(min(PIECE_BYTES, self._size - self._at))
        if not piece:
            raise CutShort
        self._at += len(piece)
        return piece

    def seekable(self) -> bool:  # for werkzeug, which serves a range of what can be sought in
        return True

    def seek(self, position: int) -> None:
        self._at = self._file.seek(position)

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()


class _Sink(io.RawIOBase):
    """What an archive is written to, and taken from."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content


def _range_of(size: int) -> int | None:
    """Give the size if one range of bytes is to be sent; other wishes may be answered whole.

    Conditions go before ranges (RFC 9110, 13.2.2), so a request with both is answered whole.
    """
    asked, conditions = request.range, request.if_match or request.if_none_match
    if request.method != "GET" or conditions or asked is None:
        return None
    if asked.units != "bytes" or len(asked.ranges) != 1 or asked.ranges[0][0] < -size:
        return None
    return size
