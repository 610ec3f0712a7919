import json

from tools import sbom
from tools.registry import Image

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


def test_packages_of_lock_and_image() -> None:
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


def test_packages_of_lock_alone() -> None:
    made = json.loads(sbom.document("autoencoder", "1.0", sbom.MODEL_LOCKS, None))
    scopes = {one["name"]: one["scope"] for one in made["components"]}
    assert (scopes["numpy"], scopes["torch"]) == ("required", "optional")
    assert {one["purl"].split("/")[0] for one in made["components"]} == {"pkg:pypi"}
