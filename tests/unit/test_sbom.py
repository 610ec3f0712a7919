import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tools import sbom
from tools.registry import Image, read_image

STATUS = """\
Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7
Depends: base-files (>= 2.1.12)
Description: GNU Bourne Again SHell
 Status: no field

Package: apt
Status: deinstall ok config-files
Architecture: amd64
Version: 2.6.1
"""
OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
IMAGE = Image(
    "sha256:" + "0" * 64,
    {"PYTHON_VERSION": "3.11.9"},
    {sbom.PACKAGES: STATUS.encode(), sbom.SYSTEM: OS_RELEASE.encode()},
)


def test_a_document_names_packages_of_the_lock_and_of_the_image() -> None:
    made = json.loads(sbom.document("hello-flask", "1.0", sbom.BACKEND_LOCKS, IMAGE))
    named = {one.get("purl", one["name"]): one for one in made["components"]}
    locked = len(sbom.entries((sbom.ROOT / "requirements.lock").read_text()))
    assert len(named) == locked + 3
    assert named["debian"]["version"] == "12"
    assert "pkg:generic/python@3.11.9" in named
    assert "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64&distro=debian-12" in named
    (flask,) = [one for purl, one in named.items() if purl.startswith("pkg:pypi/flask@")]
    (files,) = flask["externalReferences"]
    assert {one["alg"] for one in files["hashes"]} == {"SHA-256"}
    assert made["metadata"]["component"]["type"] == "container"


def test_without_the_image_the_locks_alone_are_named() -> None:
    made = json.loads(sbom.document("autoencoder", "1.0", sbom.MODEL_LOCKS, None))
    scopes = {one["name"]: one["scope"] for one in made["components"]}
    assert (scopes["numpy"], scopes["torch"]) == ("required", "optional")
    assert {one["purl"].split("/")[0] for one in made["components"]} == {"pkg:pypi"}


def layer(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue())


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry with team/app:1, an index of one image of two layers."""
    blobs: dict[str, bytes] = {}

    def put(content: bytes) -> dict[str, str]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blobs[digest] = content
        return {"digest": digest}

    config = put(json.dumps({"config": {"Env": ["PATH=/bin", "A=b=c"]}}).encode())
    layers = [put(layer({"./etc/one": b"old", "etc/two": b"2"})), put(layer({"etc/one": b"new"}))]
    manifest = put(json.dumps({"config": config, "layers": layers}).encode())
    index = put(json.dumps({"manifests": [manifest]}).encode())
    blobs["1"] = blobs[index["digest"]]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            folder, reference = self.path.rsplit("/", 1)
            known = folder in ("/v2/team/app/manifests", "/v2/team/app/blobs")
            content = blobs.get(reference) if known else None
            self.send_response(200 if content else 404)
            if content:
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                self.send_header("Docker-Content-Digest", digest)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}/team"
        finally:
            server.shutdown()
            thread.join()


def test_the_last_layer_with_a_file_counts(registry: str) -> None:
    image = read_image(registry, "app", "1", ["etc/one", "etc/two", "etc/three"])
    assert image.files == {"etc/one": b"new", "etc/two": b"2"}
    assert image.environment == {"PATH": "/bin", "A": "b=c"}
    assert image.digest.startswith("sha256:")


def test_an_image_that_is_not_there_is_an_oserror(registry: str) -> None:
    with pytest.raises(OSError, match="404"):
        read_image(registry, "other", "1", ["etc/one"])
