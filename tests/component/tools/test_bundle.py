"""The bundle: written from a registry, checked, and pushed to another one from the tar alone."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.component.tools.test_registry import layer
from tools.bundle import write_bundle
from tools.sbom import IMAGES, PACKAGES, SYSTEM

TYPE = "application/vnd.oci.image.manifest.v1+json"
STATUS = "Package: base-files\nStatus: install ok installed\nVersion: 12\nArchitecture: amd64\n"
SYSTEM_TEXT = 'ID=debian\nVERSION_ID="12"\n'


class Registry:
    """A registry in memory, which checks digests as a real one does.

    Attributes:
        blobs: by repository, then by digest.
        manifests: by repository, then by tag or digest: media type and content.
        corrupt: the digest of a blob that is sent with another content.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.corrupt = ""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                repository, kind, reference = urlsplit(self.path).path[4:].rsplit("/", 2)
                if kind == "manifests":
                    found = registry.manifests.get(repository, {}).get(reference)
                    if found:
                        digest = digest_of(found[1])
                        headers = {"Content-Type": found[0], "Docker-Content-Digest": digest}
                        return self._answer(200, found[1], headers)
                blob = registry.blobs.get(repository, {}).get(reference)
                if blob is None:
                    return self._answer(404)
                return self._answer(200, b"x" if reference == registry.corrupt else blob)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                self._answer(202, headers={"Location": f"{self.path}one?state=a"})

            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                url = urlsplit(self.path)
                repository, kind, reference = url.path[4:].rsplit("/", 2)
                if kind == "manifests":
                    stored = (self.headers["Content-Type"], content)
                    known = registry.blobs.get(repository, {})
                    parts = json.loads(content)
                    if any(p["digest"] not in known for p in (parts["config"], *parts["layers"])):
                        return self._answer(404)  # MANIFEST_BLOB_UNKNOWN
                    registry.manifests.setdefault(repository, {})[reference] = stored
                    return self._answer(201)
                (digest,) = parse_qs(url.query)["digest"]
                if digest_of(content) != digest:
                    return self._answer(400)
                registry.blobs.setdefault(repository.removesuffix("/blobs"), {})[digest] = content
                return self._answer(201)

            def _answer(
                self, status: int, content: bytes = b"", headers: dict[str, str] | None = None
            ) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self._server.server_port}/team"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def put(self, name: str, tag: str) -> None:
        """Store an image with one layer."""
        files = {PACKAGES: STATUS.encode(), SYSTEM: SYSTEM_TEXT.encode(), "name": name.encode()}
        blobs = self.blobs.setdefault(f"team/{name}", {})
        parts = []
        for content in (json.dumps({"config": {"Env": ["A=b"]}}).encode(), layer(files)):
            blobs[digest_of(content)] = content
            parts.append({"digest": digest_of(content), "size": len(content)})
        manifest = {"schemaVersion": 2, "mediaType": TYPE, "config": parts[0], "layers": parts[1:]}
        content = json.dumps(manifest).encode()
        for reference in (tag, digest_of(content)):
            self.manifests.setdefault(f"team/{name}", {})[reference] = (TYPE, content)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def source() -> Iterator[Registry]:
    registry = Registry()
    for name in IMAGES:
        registry.put(name, "7")
    registry.put("mysql", "9")
    yield registry
    registry.close()


@pytest.fixture
def target() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def bundle(source: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(source.name, "7", ["mysql:9"], tmp_path_factory.mktemp("dist"))


@pytest.fixture
def unpacked(bundle: Path, tmp_path: Path) -> Path:
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path, filter="tar")
    return tmp_path / "hello-flask-7"


def load(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own program, with nothing but the standard library."""
    command = [sys.executable, "-I", "-S", str(folder / "load.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_all_images_arrive_unchanged(unpacked: Path, source: Registry, target: Registry) -> None:
    for _ in range(2):  # what is there already is not sent again
        result = load(unpacked, target.name)
        assert result.returncode == 0, result.stderr
    assert f"pushed {target.name}/hello-flask:7" in result.stdout
    assert target.manifests.keys() == source.manifests.keys()
    for repository, manifests in target.manifests.items():
        (tag,) = manifests
        assert manifests[tag] == source.manifests[repository][tag]
        assert target.blobs[repository] == source.blobs[repository]


def test_everything_is_there(unpacked: Path) -> None:
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*")}
    assert {"yaml/setup/0_pv_input.yaml", "yaml/4_pod.yaml", "yaml/preflight.yaml"} <= names
    assert {"docs/air-gap.md", "docs/ko/air-gap.md", "docs/openapi.json", "LICENSE"} <= names
    assert {f"sbom/{name}.cdx.json" for name in IMAGES} <= names
    assert (unpacked / "yaml" / "storage" / "kustomization.yaml").is_file()  # the link is kept
    assert len(list(unpacked.glob("hello_flask-*.whl"))) == 1
    entries = yaml.safe_load((unpacked / "yaml" / "bundled_models.yaml").read_text())["data"]
    assert entries.keys() == {"classifier.yaml", "conv-autoencoder.yaml"}
    summed = (unpacked / "SHA256SUMS").read_text().splitlines()
    packed = {str(one.relative_to(unpacked)) for one in unpacked.rglob("*") if one.is_file()}
    assert {line.split("  ")[1] for line in summed} == packed - {"SHA256SUMS"}


def test_archives_are_oci_layouts(unpacked: Path) -> None:
    with tarfile.open(unpacked / "images" / "hello-flask.tar") as archive:
        index = json.load(archive.extractfile("index.json") or io.BytesIO())
        assert {"oci-layout", "blobs/sha256"} <= set(archive.getnames())
        (entry,) = index["manifests"]
        name = f"blobs/{entry['digest'].replace(':', '/')}"
        manifest = (archive.extractfile(name) or io.BytesIO()).read()
        assert digest_of(manifest) == entry["digest"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "hello-flask:7"


def test_damage_is_found(unpacked: Path, target: Registry) -> None:
    assert load(unpacked, "--check").returncode == 0
    (unpacked / "yaml" / "4_pod.yaml").write_text("")
    (unpacked / "images" / "mysql.tar").unlink()
    result = load(unpacked, target.name)
    assert result.returncode == 1
    assert "yaml/4_pod.yaml is missing or damaged" in result.stderr
    assert "images/mysql.tar is missing or damaged" in result.stderr
    assert not target.manifests


def test_registry_that_does_not_answer(unpacked: Path, target: Registry) -> None:
    target.close()
    result = load(unpacked, target.name)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {target.name}: ")
    assert "Traceback" not in result.stderr


def test_nothing_of_the_packing_machine(bundle: Path) -> None:
    """No owner, time or odd mode; no links to elsewhere."""
    with tarfile.open(bundle) as archive:
        for member in archive:
            assert (member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 0)
            assert member.mode in (0o644, 0o755)
            assert member.isfile() or member.isdir() or not member.linkname.startswith("/")


def test_damaged_blob_of_the_registry(source: Registry, tmp_path: Path) -> None:
    source.corrupt = next(iter(source.blobs["team/hello-flask"]))
    try:
        with pytest.raises(OSError, match="another content"):
            write_bundle(source.name, "7", [], tmp_path)
    finally:
        source.corrupt = ""
    assert list(tmp_path.iterdir()) == []
