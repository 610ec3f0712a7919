#!/usr/bin/env python3
"""Check a bundle, and push its images to a registry. Needs Python 3.9 alone.

    python3 load.py REGISTRY[/PATH] [--check] [--plain-http]

It is load.py of the bundle that `make bundle` writes; docs/air-gap.md explains it. A registry with
a login gets it from the variables REGISTRY_USER and REGISTRY_PASSWORD.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import tarfile
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urljoin, urlsplit

HERE = Path(__file__).resolve().parent
REF_NAME = "org.opencontainers.image.ref.name"
PIECE = 2**20


def main() -> int:
    """Carry out the command line.

    Returns:
        0, or 1 if the bundle is damaged or the registry refuses something.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("registry", nargs="?", help="such as registry.example/team")
    parser.add_argument("--check", action="store_true", help="only compare with SHA256SUMS")
    parser.add_argument("--plain-http", action="store_true", help="the registry has no TLS")
    arguments = parser.parse_args()
    damaged = differing_files(HERE)
    for name in damaged:
        print(f"{name} is missing or damaged: copy the bundle again.", file=sys.stderr)
    if damaged:
        return 1
    print("Every file is as it was packed.")
    if arguments.check:
        return 0
    if not arguments.registry:
        parser.error("name the registry, or use --check")
    registry = Registry(arguments.registry, plain_http=arguments.plain_http)
    try:
        for archive in sorted((HERE / "images").glob("*.tar")):
            print(f"pushed {registry.push(archive)}")
    except (OSError, ValueError) as error:
        print(f"error: {arguments.registry}: {error}", file=sys.stderr)
        return 1
    return 0


def differing_files(folder: Path) -> "list[str]":
    """Return the files that SHA256SUMS names and that are not as it says."""
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    return [name for name, digest in expected.items() if _sha256(folder / name) != digest]


class Registry:
    """A registry that images are pushed to (OCI Distribution Specification)."""

    def __init__(self, name: str, *, plain_http: bool = False) -> None:
        """Use the registry HOST[:PORT][/PATH]."""
        self._name = name.rstrip("/")
        host, _, path = self._name.partition("/")
        is_local = host.split(":")[0] in ("localhost", "127.0.0.1")
        self._base = f"{'http' if plain_http or is_local else 'https'}://{host}/v2/"
        self._path = f"{path}/" if path else ""
        user, password = os.environ.get("REGISTRY_USER"), os.environ.get("REGISTRY_PASSWORD", "")
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"} if user else {}

    def push(self, archive: Path) -> str:
        """Push the image of an OCI archive, and return its name in the registry.

        Raises:
            OSError: the registry does not answer, or refuses it.
        """
        with tarfile.open(archive) as layout:
            index = json.load(_member(layout, "index.json"))
            entry = index["manifests"][0]
            name, _, tag = entry["annotations"][REF_NAME].rpartition(":")
            manifest = _member(layout, _blob(entry["digest"])).read()
            parts = json.loads(manifest)
            for part in (parts["config"], *parts["layers"]):
                self._push_blob(layout, name, part["digest"])
            url = f"{self._base}{self._path}{name}/manifests/{tag}"
            self._send("PUT", url, manifest, {"Content-Type": entry["mediaType"]})
        return f"{self._name}/{name}:{tag}"

    def _push_blob(self, layout: tarfile.TarFile, name: str, digest: str) -> None:
        url = f"{self._base}{self._path}{name}/blobs/"
        try:
            self._send("HEAD", url + digest)
            return  # it is there already
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        place = urljoin(url, self._send("POST", f"{url}uploads/", b"")["Location"])
        if urlsplit(place).netloc != urlsplit(url).netloc:
            raise OSError(f"it wants the upload at another host, {urlsplit(place).netloc}")
        place += f"{'&' if urlsplit(place).query else '?'}digest={digest}"
        member = layout.getmember(_blob(digest))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(member.size)}
        self._send("PUT", place, _member(layout, _blob(digest)), headers)

    def _send(
        self,
        method: str,
        url: str,
        body: "bytes | IO[bytes] | None" = None,
        headers: "dict[str, str] | None" = None,
    ) -> Message:
        every = {**self._headers, **(headers or {})}
        request = urllib.request.Request(url, body, every, method=method)
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer.read()
            received: Message = answer.headers
        return received


def _member(layout: tarfile.TarFile, name: str) -> "IO[bytes]":
    found = layout.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is no file in the archive")
    return found


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _sha256(path: Path) -> "str | None":
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
