"""A namespace whose Jobs run a program that does nothing, on the single node of the lab."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.kubernetes.reconcile import NAMESPACE, kubectl, namespace

IMAGE = "bench-nothing:1"
DOCKERFILE = 'FROM python:3.11-slim-bookworm\nENTRYPOINT ["true"]\n'
CLAIMS = ("hello-flask-input", "hello-flask-output")


@contextmanager
def doing_nothing() -> Iterator[dict[str, str]]:
    """Provide such a namespace during the block.

    Yields:
        The environment variables of a server that starts its Jobs there.
    """
    build()
    with tempfile.TemporaryDirectory() as folder, namespace():
        Path(folder).chmod(0o755)  # pods run as another user
        objects = [body for name in CLAIMS for body in volume(name, folder)]
        names = [body["metadata"]["name"] for body in objects if body["kind"] == "PersistentVolume"]
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
    """Build the image, and push it to the registry from which the node pulls."""
    images = Path(os.environ["LAB"], "images")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(DOCKERFILE)
        for command in (["build", "-t", IMAGE, folder], ["push", IMAGE]):
            subprocess.run([images, *command], check=True, capture_output=True)


def volume(claim: str, folder: str) -> list[dict[str, Any]]:
    """Return a volume for a folder of the node, and its claim."""
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
