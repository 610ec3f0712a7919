"""The contents of both images, inspected in a pod with the image's own user and a writable root."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Images
from tests.e2e.support import eventually, kubectl, objects

INSPECT = """
show() { python -c 'import json, sys; print(json.dumps(sys.stdin.read().split()))'; }
id -u | show
find / -xdev ! -type l -writable 2>/dev/null | show
find / -xdev -type f -perm /6000 2>/dev/null | show
for tool in pip pip3 apt-get gcc cc make curl wget git ssh; do command -v "$tool"; done | show
find / -xdev \\( -path '*-packages/pip' -o -name ensurepip \\) 2>/dev/null | show
"""


def pod(name: str, image: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # No runAsUser: the image's own user is numeric, so that the kubelet can check it.
            "securityContext": {"runAsNonRoot": True},
            "containers": [{"name": "inspect", "image": image, "command": ["sh", "-c", INSPECT]}],
        },
    }


@pytest.mark.parametrize("name", ["flask", "model"])
def test_image_is_minimal(images: Images, name: str) -> None:
    """Only /tmp is writable, no program is setuid, and no tool can install software."""
    pod_name = f"hello-flask-inspect-{name}"
    kubectl("apply", "-f", "-", stdin=json.dumps(pod(pod_name, getattr(images, name))).encode())
    try:

        def ended() -> str | None:
            (body,) = objects("-n", "default", "pods", f"--field-selector=metadata.name={pod_name}")
            phase: str = body["status"]["phase"]
            return phase if phase in ("Succeeded", "Failed") else None

        def explain() -> str:
            return kubectl("-n", "default", "describe", "pod", pod_name)

        phase = eventually(ended, seconds=240, what=f"pod {pod_name} has ended", explain=explain)
        printed = kubectl("-n", "default", "logs", pod_name)
        assert phase == "Succeeded", printed
    finally:
        kubectl("-n", "default", "delete", "pod", pod_name, "--wait=false")
    user, writable, privileged, programs, installers = map(json.loads, printed.splitlines())
    assert user == ["10001"]
    assert writable == ["/tmp"]
    assert privileged == []
    assert programs == []
    assert installers == []
