"""Sends files whose content is not trusted, whole or in part."""

import io
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from flask import Response, request

from backend.files.untrusted import Entry, entry_of

PIECE_BYTES = 64 * 1024  # read or sent at once, of uploads, downloads and logs
# The first bytes of files that browsers show; they save others. RFC 2083, 3.1; ITU T.81, B.1.1.3.
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
MAX_ARCHIVE_BYTES = 16 * 2**30  # of all files: making such an archive takes a few minutes
LEFT_OUT = "LEFT-OUT.txt"  # in an archive, names the files that would make it larger
FIRST_ZIP_TIME = datetime(1980, 1, 1, tzinfo=UTC)  # the range that the zip format can store
LAST_ZIP_TIME = datetime(2107, 12, 31, tzinfo=UTC)


class CutShort(Exception):
    """A file became shorter while it was sent. The connection is closed, so that clients notice."""


def send(file: BinaryIO, name: str) -> Response:
    """Return a response with a regular file, or with the part that `Range` asks for (RFC 9110).

    Args:
        file: opened for reading; the response closes it. Its size is taken now: what is appended
            later is not sent.
        name: what a browser saves it as.
    """
    entry = entry_of(name, os.fstat(file.fileno()))
    start = file.read(8)
    picture = next((kind for magic, kind in PICTURES.items() if start.startswith(magic)), None)
    file.seek(0)
    response = Response(
        _Content(file, entry.size), content_type=picture or "application/octet-stream"
    )
    response.content_length = entry.size
    response.last_modified = entry.modified
    response.set_etag(entry.version)
    response.headers["Content-Disposition"] = disposition(name, inline=picture is not None)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Accept-Ranges"] = "bytes"
    try:
        response.make_conditional(request, True, _range_of(entry.size))
    except BaseException:
        file.close()
        raise
    return response


def fitting(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the files that fit into one archive, preferring small ones, and the others.

    A sparse file of terabytes takes no disk, but would take hours to compress.
    """
    left, fits = MAX_ARCHIVE_BYTES, set[str]()
    for entry in sorted(entries, key=lambda entry: entry.size):
        left -= entry.size
        if left >= 0:
            fits.add(entry.path)
    return (
        [entry for entry in entries if entry.path in fits],
        [entry for entry in entries if entry.path not in fits],
    )


def send_zip(
    files: Iterable[tuple[Entry, BinaryIO]], name: str, left_out: Sequence[Entry] = ()
) -> Response:
    """Return a response with a zip archive of the files, which is made while it is sent.

    Args:
        files: each file, opened for reading, and its description; the response closes them.
        name: what a browser saves the archive as.
        left_out: files that a text in the archive names instead.
    """
    response = Response(zip_pieces(files, left_out), content_type="application/zip")
    response.headers["Content-Disposition"] = disposition(name, inline=False)
    return response


def disposition(name: str, *, inline: bool) -> str:
    """Return the Content-Disposition of a file with a name in any script (RFC 6266, RFC 8187).

    A browser shows the file if it is `inline`, and saves it otherwise.
    """
    kind = "inline" if inline else "attachment"
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    if plain == name:
        return f'{kind}; filename="{name}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def zip_pieces(
    files: Iterable[tuple[Entry, BinaryIO]], left_out: Sequence[Entry] = ()
) -> Iterator[bytes]:
    """Yield a zip archive piece by piece, and close each file.

    A file that grows meanwhile is cut off at the size in its entry. Those `left_out` are named in
    a file LEFT_OUT, which replaces a file of that name.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for entry, file in files:
            if left_out and entry.path == LEFT_OUT:
                file.close()
                continue
            time = min(max(entry.modified, FIRST_ZIP_TIME), LAST_ZIP_TIME)
            about = zipfile.ZipInfo(entry.path, time.timetuple()[:6])
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with file, archive.open(about, "w", force_zip64=True) as member:
                left = entry.size
                while left and (piece := file.read(min(PIECE_BYTES, left))):
                    left -= len(piece)
                    member.write(piece)
                    yield sink.take()
        if left_out:
            archive.writestr(LEFT_OUT, _left_out_text(left_out))
    yield sink.take()


def _left_out_text(entries: Sequence[Entry]) -> str:
    lines = [f"{entry.path} ({entry.size} bytes)" for entry in entries]
    head = f"Left out, because an archive holds at most {MAX_ARCHIVE_BYTES} bytes of files. "
    return "\n".join([f"{head}Download each of them by itself:", "", *lines, ""])


class _Content:
    """Iterates over the first `size` bytes of a file; raises CutShort if there are fewer."""

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

    def seekable(self) -> bool:  # Werkzeug serves ranges only of seekable iterators
        return True

    def seek(self, position: int) -> None:
        self._at = self._file.seek(position)

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()


class _Sink(io.RawIOBase):
    """A file object that keeps what is written to it until `take` returns it."""

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
    """Return `size` if one range of bytes is to be sent, or None to send the whole file.

    A server may ignore a Range header. This one does if there are several ranges, or conditions,
    which take precedence (RFC 9110, 13.2.2).
    """
    wanted, conditions = request.range, request.if_match or request.if_none_match
    if request.method != "GET" or conditions or wanted is None:
        return None
    if wanted.units != "bytes" or len(wanted.ranges) != 1 or wanted.ranges[0][0] < -size:
        return None
    return size
