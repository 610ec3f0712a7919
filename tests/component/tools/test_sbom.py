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
    document = json.loads(sbom.document("hello-flask", "1.0", sbom.BACKEND_LOCKS, IMAGE))
    components = {
        component.get("purl", component["name"]): component for component in document["components"]
    }
    locked = len(sbom.entries((sbom.ROOT / "requirements.lock").read_text()))
    assert len(components) == locked + 3
    assert components["debian"]["version"] == "12"
    assert "pkg:generic/python@3.11.9" in components
    assert "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64&distro=debian-12" in components
    (flask,) = [
        component for purl, component in components.items() if purl.startswith("pkg:pypi/flask@")
    ]
    (files,) = flask["externalReferences"]
    assert {component["alg"] for component in files["hashes"]} == {"SHA-256"}
    assert document["metadata"]["component"]["type"] == "container"


def test_packages_of_lock_alone() -> None:
    document = json.loads(sbom.document("autoencoder", "1.0", sbom.MODEL_LOCKS, None))
    scopes = {component["name"]: component["scope"] for component in document["components"]}
    assert (scopes["numpy"], scopes["torch"]) == ("required", "optional")
    assert {component["purl"].split("/")[0] for component in document["components"]} == {"pkg:pypi"}
