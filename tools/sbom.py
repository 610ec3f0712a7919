"""Write sbom/*.cdx.json: the components of all images, as CycloneDX 1.6 (ECMA-424).

    python -m tools.sbom    # REPOSITORY_URL and TAG as for build.sh

Python packages and their hashes are taken from the locks, Debian packages and the interpreter from
the images in the registry. If an image cannot be read, a message says so, and its document lists
the Python packages only.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from backend import __version__
from tools.lock import HASH, MODEL, ROOT, entries
from tools.registry import Image, read_image

TARGET = ROOT / "sbom"
Locks = dict[Path, ComponentScope]
BACKEND_LOCKS: Locks = {ROOT / "requirements.lock": ComponentScope.REQUIRED}
# An image has one of PyTorch's two builds.
MODEL_LOCKS: Locks = {
    MODEL / "requirements.lock": ComponentScope.REQUIRED,
    MODEL / "torch-cpu.lock": ComponentScope.OPTIONAL,
    MODEL / "torch.lock": ComponentScope.OPTIONAL,
}
MODELS = sorted(file.parent.name for file in ROOT.glob("models/*/Dockerfile"))
IMAGES = {"hello-flask": BACKEND_LOCKS, **dict.fromkeys(MODELS, MODEL_LOCKS)}
PACKAGES, SYSTEM = "var/lib/dpkg/status", "usr/lib/os-release"


def python_packages(lock: str, scope: ComponentScope) -> Iterator[Component]:
    """Yield every package of a lock, with the sha256 of each of its files."""
    for entry in entries(lock):
        name, version = entry.split()[0].split("==")
        yield Component(
            name=name,
            version=version,
            scope=scope,
            purl=PackageURL("pypi", None, name, version),
            bom_ref=f"pypi/{name}@{version}",
            external_references=[
                ExternalReference(
                    type=ExternalReferenceType.DISTRIBUTION,
                    url=XsUri(f"https://pypi.org/simple/{name}/"),
                    hashes=[
                        HashType(alg=HashAlgorithm.SHA_256, content=value.removeprefix("sha256:"))
                        for value in HASH.findall(entry)
                    ],
                )
            ],
        )


def fields(stanza: str) -> dict[str, str]:
    """Return the single-line fields of a stanza of dpkg's status file."""
    return dict(re.findall(r"^([\w-]+): (.*)$", stanza, re.MULTILINE))


def debian_packages(status: str, os_release: str) -> Iterator[Component]:
    """Yield the operating system and its installed packages (deb-control(5), os-release(5))."""
    system = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    yield Component(
        name=system["ID"], version=system["VERSION_ID"], type=ComponentType.OPERATING_SYSTEM
    )
    distro = f"{system['ID']}-{system['VERSION_ID']}"
    for package in map(fields, status.split("\n\n")):
        if package.get("Status") == "install ok installed":
            name, version = package["Package"], package["Version"]
            qualifiers = {"arch": package["Architecture"], "distro": distro}
            yield Component(
                name=name,
                version=version,
                purl=PackageURL("deb", system["ID"], name, version, qualifiers),
                bom_ref=f"deb/{name}:{package['Architecture']}",
            )


def image_components(image: Image) -> Iterator[Component]:
    """Yield the components of an image that are in no lock."""
    yield from debian_packages(image.files[PACKAGES].decode(), image.files[SYSTEM].decode())
    # The public Python images bring their own interpreter; elsewhere it is a Debian package.
    if version := image.environment.get("PYTHON_VERSION"):
        purl = PackageURL("generic", None, "python", version)
        yield Component(name="python", version=version, type=ComponentType.PLATFORM, purl=purl)


def document(name: str, version: str, locks: Locks, image: Image | None) -> str:
    """Return the bill of materials of one image; raise ValueError if it violates the schema."""
    purl = PackageURL("oci", None, name, image.digest) if image else None
    bom = Bom()
    bom.metadata.component = Component(
        name=name, version=version, type=ComponentType.CONTAINER, purl=purl, bom_ref=name
    )
    for lock, scope in locks.items():
        bom.components.update(python_packages(lock.read_text(), scope))
    if image:
        bom.components.update(image_components(image))
    bom.register_dependency(bom.metadata.component, bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"{name}: {error}")
    return text


def main() -> None:
    """Write the documents of all images."""
    repository = (os.environ.get("REPOSITORY_URL") or "localhost:5000").rstrip("/")
    tag = os.environ.get("TAG") or __version__
    TARGET.mkdir(exist_ok=True)
    for name, locks in IMAGES.items():
        image = None
        try:
            image = read_image(repository, name, tag, (PACKAGES, SYSTEM))
        except OSError as error:
            where = f"{repository}/{name}:{tag}"
            print(f"{where} cannot be read ({error}); its Debian packages are missing from:")
        file = TARGET / f"{name}.cdx.json"
        file.write_text(document(name, tag, locks, image))
        print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
