"""Damaged, locked and hostile files of NumPy: one sentence, exit code 2, and no memory taken."""

import io
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from common import numpy_files
from common.dataset import read_dataset
from tests.component.models.support import Trainer

Refusal = Callable[..., str]
SAMPLES = np.arange(80.0).reshape(20, 4)


def npy(array: np.ndarray = SAMPLES) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def claiming(header: str, numbers: int = 12) -> bytes:
    """Return a .npy file with this header."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8 * numbers)


def npz(content: bytes = b"", method: int = zipfile.ZIP_STORED, name: str = "x.npy") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr(name, content or npy())
    return archive.getvalue()


def changed(content: bytes, field: int, value: int) -> bytes:
    """Return an archive with another 16-bit value at `field` of both its headers."""
    changed = bytearray(content)
    struct.pack_into("<H", changed, field + 6, value)
    struct.pack_into("<H", changed, content.index(b"PK\x01\x02") + field + 8, value)
    return bytes(changed)


def damaged(content: bytes) -> bytes:
    """Return an archive whose compressed content is damaged."""
    middle = content.index(b"x.npy") + 60
    return content[:middle] + bytes(20) + content[middle + 20 :]


SHAPE = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npz", changed(npz(), 0, 1), "its array x is encrypted"),
        ("a.npz", changed(npz(), 2, 99), "its array x has the unknown compression 99"),
        ("a.npz", damaged(npz(method=zipfile.ZIP_DEFLATED)), "it is damaged"),
        ("a.npz", damaged(npz(method=zipfile.ZIP_BZIP2)), "it is damaged"),
        ("a.npz", damaged(npz(method=zipfile.ZIP_LZMA)), "it is damaged"),
        ("a.npz", damaged(npz()), "it is damaged: Bad CRC-32"),
        ("a.npz", npz()[:300], "it is damaged: File is not a zip file"),
        ("a.npz", npz(npy(SAMPLES.astype(object))), "it holds Python objects, not numbers"),
        ("a.npz", npz(claiming(SHAPE % "(10**6, 3)")), "its header is damaged"),
        ("a.npz", npz(claiming(SHAPE % "(1000000, 3)")), "claims 3000000 numbers, the file has 12"),
        (
            "a.npy",
            claiming(SHAPE % "(1000000000000, 1000)"),
            "it claims 1000000000000000 numbers, the file has 12",
        ),
        ("a.npy", claiming(SHAPE % "(-1, -12)"), "it claims 12 numbers, the file has 12"),
        ("a.npy", claiming(SHAPE % "(3, 3)"), "24 bytes follow its array"),
        ("a.npy", claiming("[" * 100), "its header is damaged"),
        ("a.npy", claiming("\\" * 100), "its header is damaged"),
        ("a.npy", npy()[:60], "its header is damaged"),
        ("a.npy", npy()[:7], "its header is damaged"),
        ("a.npy", npy() + npy(), "768 bytes follow its array"),
        ("a.npy", npy(SAMPLES.astype(object)), "it holds Python objects, not numbers"),
        ("a.npy", npy(np.zeros(20, "f8,i4")), "a.npy holds records of several fields, not real"),
        ("a.npy", npy(SAMPLES.astype("M8[s]")), "a.npy holds datetime64[s], not real numbers"),
        ("a.npy", b"1,2,3\n", "it is no file of NumPy"),
        ("a.npy", b"", "it is empty"),
    ],
)
def test_unreadable_files(
    empty_trainer: Trainer, refusal: Refusal, name: str, content: bytes, reason: str
) -> None:
    (empty_trainer.input / name).write_bytes(content)
    error = refusal()
    assert error.startswith(f"error: {name}")
    assert reason in error
    assert "allow" not in error


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_compressions(empty_trainer: Trainer, method: int) -> None:
    (empty_trainer.input / "a.npz").write_bytes(npz(method=method))
    assert (read_dataset(empty_trainer.input).rows == SAMPLES).all()


def test_bomb_is_refused_by_its_declared_size(
    empty_trainer: Trainer, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_files, "HARMLESS_BYTES", 100_000)
    monkeypatch.setattr(numpy_files, "_read_array", None)
    bomb = npz(npy(np.zeros((100_000, 4))), zipfile.ZIP_DEFLATED)
    (empty_trainer.input / "a.npz").write_bytes(bomb)
    assert "3200128 bytes, more than 500 times" in refusal()


def test_more_than_memory_is_refused(
    empty_trainer: Trainer, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_files, "usable_memory", lambda: 639)
    empty_trainer.save("a.npy", SAMPLES)
    assert refusal() == (
        "error: a.npy: its arrays need 640 bytes of memory, more than the 639 there are\n"
    )


def test_too_wide_samples(
    empty_trainer: Trainer, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.numpy_files.MAX_WIDTH", 3)
    empty_trainer.save("a.npy", SAMPLES)
    assert refusal() == ("error: a.npy is 20 x 4: a sample may have 3 numbers at most\n")


def test_escape_codes_are_not_printed(empty_trainer: Trainer, refusal: Refusal) -> None:
    np.savez(empty_trainer.input / "a.npz", **{"\x1b[31mred": SAMPLES, "b": SAMPLES})
    assert "the arrays are: \\x1b[31mred, b\n" in refusal()
