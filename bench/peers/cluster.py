"""A namespace whose Jobs run a program that does nothing, on the one node of the folder LAB."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.reconcile import NAMESPACE, kubectl, namespace

IMAGE = "bench-nothing:1"
DOCKERFILE = 'FROM python:3.11-slim-bookworm\nENTRYPOINT ["true"]\n'
CLAIMS = ("hello-flask-input", "hello-flask-output")


@contextmanager
def doing_nothing() -> Iterator[dict[str, str]]:
    """Have such a namespace until the end of the block.

    Yields:
        The environment of a server that starts its runs there.
    """
    build()
    with tempfile.TemporaryDirectory() as folder, namespace():
        Path(folder).chmod(0o755)  # the pods' user must enter it
        objects = [one for name in CLAIMS for one in volume(name, folder)]
        names = [one["metadata"]["name"] for one in objects if one["kind"] == "PersistentVolume"]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        command = ["kubectl", "apply", "-f", "-"]
        subprocess.run(command, input=text.encode(), check=True, stdout=subprocess.DEVNULL)
        try:
            yield {
                "LAUNCHER": "kubernetes",
                "AE_MODEL_IMAGE_URL": IMAGE,
                "JOB_NAMESPACE": NAMESPACE,
                "JOB_CPU": "10m",
                "INPUT_DIR": folder,
                "OUTPUT_DIR": folder,
            }
        finally:
            kubectl("delete", "jobs", "--all", "-n", NAMESPACE)
            kubectl("delete", "pv", "--wait=false", *names)


def build() -> None:
    """Build the image, and push it to where the node pulls from."""
    images = Path(os.environ["LAB"], "images")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(DOCKERFILE)
        for command in (["build", "-t", IMAGE, folder], ["push", IMAGE]):
            subprocess.run([images, *command], check=True, capture_output=True)


def volume(claim: str, folder: str) -> list[dict[str, Any]]:
    """Make a volume of a folder of the node, and the claim on it."""
    name, size = f"{NAMESPACE}-{claim}", {"storage": "1Gi"}
    access = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": access | {"capacity": size, "hostPath": {"path": folder}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": NAMESPACE},
            "spec": access | {"volumeName": name, "resources": {"requests": size}},
        },
    ]
