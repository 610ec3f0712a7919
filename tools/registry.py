"""Read images in a registry over HTTP, independent of any container tool: whole, or single files.

The protocol is the OCI Distribution Specification, https://github.com/opencontainers/distribution-spec.
"""

import hashlib
import json
import shutil
import tarfile
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True)
class Image:
    """An image in a registry.

    Attributes:
        digest: of the manifest ("sha256:...").
        environment: the variables that the image sets.
        files: the contents of the requested files that exist, by name without the leading '/'.
    """

    digest: str
    environment: dict[str, str]
    files: dict[str, bytes]


def read_image(repository: str, name: str, tag: str, files: Iterable[str]) -> Image:
    """Read an image from a registry that needs no login.

    If the image is an index for several platforms, the first one is read. Links are not followed.

    Args:
        repository: a registry with an optional path, as REPOSITORY_URL of build.sh.
        name: the image's name.
        tag: its tag.
        files: names of files to read, without the leading '/'.

    Raises:
        OSError: the image cannot be read.
    """
    base = _base(repository, name)
    digest, manifest = _manifest(base, tag)
    if "manifests" in manifest:
        digest, manifest = _manifest(base, manifest["manifests"][0]["digest"])
    with _blob(base, manifest["config"]) as answer:
        config = json.load(answer)["config"]
    wanted = set(files)
    found: dict[str, bytes] = {}
    for layer in manifest["layers"]:  # later layers override earlier ones
        with _blob(base, layer) as answer, tarfile.open(fileobj=answer, mode="r|*") as archive:
            for member in archive:
                member_name = member.name.removeprefix("./")
                if member_name in wanted and (content := archive.extractfile(member)):
                    found[member_name] = content.read()
    environment = dict(variable.split("=", 1) for variable in config.get("Env") or [])
    return Image(digest, environment, found)


def save_image(repository: str, name: str, tag: str, folder: Path) -> str:
    """Write an image as an OCI image layout: oci-layout, index.json and blobs/sha256/.

    Of an index for several platforms, the first image is written. Every blob is checked by its
    digest.

    Args:
        repository: as for `read_image`.
        name: the image's name.
        tag: its tag; `name:tag` is the name of the image in the layout.
        folder: an empty folder.

    Returns:
        The digest of the manifest.

    Raises:
        OSError: the image cannot be read, or a blob has another digest.
    """
    base = _base(repository, name)
    digest, manifest = _manifest(base, tag)
    if "manifests" in manifest:
        digest, manifest = _manifest(base, manifest["manifests"][0]["digest"])
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for descriptor in (manifest["config"], *manifest["layers"]):
        target = blobs / descriptor["digest"].removeprefix("sha256:")
        if not target.exists():  # two layers may be the same
            with _blob(base, descriptor) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file, 2**20)
            _check(target, descriptor["digest"])
    target = blobs / digest.removeprefix("sha256:")
    target.write_bytes(_manifest_bytes(base, digest))
    _check(target, digest)
    entry = {
        "mediaType": manifest["mediaType"],
        "digest": digest,
        "size": target.stat().st_size,
        "annotations": {"org.opencontainers.image.ref.name": f"{name}:{tag}"},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return digest


def _base(repository: str, name: str) -> str:
    host, _, path = repository.partition("/")
    local = host.split(":")[0] in ("localhost", "127.0.0.1")
    return f"{'http' if local else 'https'}://{host}/v2/{f'{path}/' if path else ''}{name}"


def _check(file: Path, digest: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != f"sha256:{found}":
        raise OSError(f"{digest} was sent with another content, sha256:{found}")


def _manifest_bytes(base: str, reference: str) -> bytes:
    headers = {"Accept": ", ".join(MANIFESTS)}
    request = urllib.request.Request(f"{base}/manifests/{reference}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def _manifest(base: str, reference: str) -> tuple[str, dict[str, Any]]:
    headers = {"Accept": ", ".join(MANIFESTS)}
    request = urllib.request.Request(f"{base}/manifests/{reference}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Docker-Content-Digest"], json.load(answer)


def _blob(base: str, descriptor: dict[str, Any]) -> IO[bytes]:
    answer: IO[bytes] = urllib.request.urlopen(f"{base}/blobs/{descriptor['digest']}", timeout=30)
    return answer
