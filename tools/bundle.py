"""Write dist/hello-flask-VERSION.tar: all that an installation without the internet needs.

    python -m tools.bundle    # REPOSITORY_URL and TAG as for build.sh, which has pushed the images

Images as OCI archives, manifests, documentation, the wheel, bills of materials, a program that
pushes the images, and checksums. MORE_IMAGES names further images of the same registry, such as
`mysql:9` for yaml/db.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from backend import __version__
from tools.lock import ROOT
from tools.registry import read_image, save_image
from tools.sbom import IMAGES, PACKAGES, SYSTEM, document

TARGET = ROOT / "dist"
TREES = ("yaml", "overlays", "docs")
FILES = ("README.md", "README.ko.md", "LICENSE", "SECURITY.md", "CHANGELOG.md")
LOADER = ROOT / "tools" / "load.py"
LEFT_OUT = {"growth", "screenshots", "postman_collection.json", "notebook.ipynb"}
AUTOENCODER = "autoencoder"  # its image is AE_MODEL_IMAGE_URL


def write_bundle(repository: str, tag: str, more_images: list[str], target: Path) -> Path:
    """Write the bundle into the folder `target`, and return its path.

    Args:
        repository: the registry that holds the images, as REPOSITORY_URL of build.sh.
        tag: of our images.
        more_images: further images there, as NAME:TAG.
        target: is created if necessary.

    Raises:
        OSError: an image cannot be read.
    """
    target.mkdir(parents=True, exist_ok=True)
    name = f"hello-flask-{tag}"
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        folder = Path(scratch) / name
        (folder / "images").mkdir(parents=True)
        (folder / "sbom").mkdir()
        for image in [*(f"{one}:{tag}" for one in IMAGES), *more_images]:
            print(f"packing {repository}/{image}", flush=True)
            _save(repository, image, folder / "images")
        for image, locks in IMAGES.items():
            read = read_image(repository, image, tag, (PACKAGES, SYSTEM))
            (folder / "sbom" / f"{image}.cdx.json").write_text(document(image, tag, locks, read))
        _copy_files(folder)
        (folder / "yaml" / "bundled_models.yaml").write_text(_model_entries())
        _build_wheel(folder)
        _write_checksums(folder)
        bundle = target / f"{name}.tar"
        _pack(folder, bundle)
    return bundle


def _save(repository: str, image: str, folder: Path) -> None:
    name, _, tag = image.rpartition(":")
    layout = folder / name
    layout.mkdir()
    save_image(repository, name, tag, layout)
    _pack(layout, folder / f"{name}.tar", inside="")
    shutil.rmtree(layout)


def _copy_files(folder: Path) -> None:
    def left_out(_folder: str, names: list[str]) -> set[str]:
        return LEFT_OUT.intersection(names)

    for tree in TREES:
        shutil.copytree(ROOT / tree, folder / tree, symlinks=True, ignore=left_out)
    for file in FILES:
        shutil.copy(ROOT / file, folder)
    shutil.copy(LOADER, folder)


def _model_entries() -> str:
    """Return a ConfigMap with the entries of the models, whose images are another registry's."""
    entries = {
        f"{file.parent.name}.yaml": file.read_text()
        for file in sorted(ROOT.glob("models/*/model.yaml"))
        if file.parent.name != AUTOENCODER
    }
    content = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "hello-flask-models",
            "namespace": "default",
            "labels": {"app.kubernetes.io/name": "hello-flask"},
        },
        "data": entries,
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _build_wheel(folder: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *options]
    subprocess.run([*command, f"--wheel-dir={folder}", str(ROOT)], check=True)


def _write_checksums(folder: Path) -> None:
    lines = []
    for file in _files(folder):
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(folder)}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, without following links, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _pack(folder: Path, target: Path, inside: str | None = None) -> None:
    """Write a folder as a tar file, without the times and owners of this machine."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        root = folder.name if inside is None else inside
        for path in sorted(folder.rglob("*")):
            name = str(Path(root) / path.relative_to(folder))
            archive.add(path, name, recursive=False, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def main() -> None:
    """Write the bundle of the images in REPOSITORY_URL."""
    repository = (os.environ.get("REPOSITORY_URL") or "localhost:5000").rstrip("/")
    tag = os.environ.get("TAG") or __version__
    more = os.environ.get("MORE_IMAGES", "").split()
    try:
        bundle = write_bundle(repository, tag, more, TARGET)
    except OSError as error:
        sys.exit(f"error: an image in {repository} cannot be read ({error}): run ./build.sh first.")
    print(bundle.relative_to(ROOT))


if __name__ == "__main__":
    main()
