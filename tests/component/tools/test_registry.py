import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tools.registry import read_image


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
    """A registry that holds team/app:1, an index of one image with two layers."""
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


def test_last_layer_wins(registry: str) -> None:
    image = read_image(registry, "app", "1", ["etc/one", "etc/two", "etc/three"])
    assert image.files == {"etc/one": b"new", "etc/two": b"2"}
    assert image.environment == {"PATH": "/bin", "A": "b=c"}
    assert image.digest.startswith("sha256:")


def test_missing_image(registry: str) -> None:
    with pytest.raises(OSError, match="404"):
        read_image(registry, "other", "1", ["etc/one"])
