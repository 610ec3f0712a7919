"""The compressed size of the images beyond their base image, which a node pulls only once.

REPOSITORY_URL names the registry to which `make image` has pushed them.
"""

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

from backend import __version__
from bench.figures import Row
from bench.server import ROOT

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"  # Docker's, schema 2
IMAGES = [("hello-flask", "Dockerfile", 75)] + [
    (file.parent.name, str(file.relative_to(ROOT)), None)
    for file in sorted(ROOT.glob("models/*/Dockerfile"))
]


def rows(_quick: bool) -> Iterator[Row]:
    """Yield the size of each image's own layers, without those of its base."""
    for name, dockerfile, goal in IMAGES:
        text = (ROOT / dockerfile).read_text()
        own = re.findall(r"^(?:RUN|COPY|ADD)\b", text.rpartition("\nFROM ")[2], re.MULTILINE)
        sizes = [layer["size"] / 1e6 for layer in manifest(name)["layers"]]
        size, base = sum(sizes[-len(own) :]), sum(sizes[: -len(own)])
        yield Row(
            f"image `{name}`, compressed, without its base",
            f"{size:.0f} MB",
            f"{base:.0f} MB, its base",
            goal=f"<= {goal} MB" if goal else "",
            met=size <= goal if goal else None,
        )


def manifest(name: str) -> dict[str, Any]:
    """Return the manifest of this version's image (OCI distribution, `GET /v2/`)."""
    host, _, path = os.environ["REPOSITORY_URL"].rstrip("/").partition("/")
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    repository = f"{path}/{name}".lstrip("/")
    url = f"{scheme}://{host}/v2/{repository}/manifests/{__version__}"
    request = urllib.request.Request(url, headers={"Accept": MANIFEST})
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def how() -> str:
    """Return how the images are measured."""
    return "The sizes of the layers in the registry's manifest."
