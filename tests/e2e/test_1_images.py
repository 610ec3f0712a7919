"""What is in the images, seen from a pod of each with the user they run as and a writable root."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Images
from tests.e2e.support import eventually, kubectl, objects

LOOK = """
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
            # No user: the image's own, which the kubelet must be able to tell from root.
            "securityContext": {"runAsNonRoot": True},
            "containers": [{"name": "look", "image": image, "command": ["sh", "-c", LOOK]}],
        },
    }


@pytest.mark.parametrize("name", ["flask", "model"])
def test_an_image_holds_nothing_to_write_to_or_to_rise_by(images: Images, name: str) -> None:
    look = f"hello-flask-look-{name}"
    kubectl("apply", "-f", "-", stdin=json.dumps(pod(look, getattr(images, name))).encode())
    try:

        def ended() -> str | None:
            (one,) = objects("-n", "default", "pods", f"--field-selector=metadata.name={look}")
            phase: str = one["status"]["phase"]
            return phase if phase in ("Succeeded", "Failed") else None

        def explain() -> str:
            return kubectl("-n", "default", "describe", "pod", look)

        phase = eventually(ended, seconds=240, what=f"pod {look} has ended", explain=explain)
        printed = kubectl("-n", "default", "logs", look)
        assert phase == "Succeeded", printed
    finally:
        kubectl("-n", "default", "delete", "pod", look, "--wait=false")
    user, writable, privileged, programs, installers = map(json.loads, printed.splitlines())
    assert user == ["10001"]
    assert writable == ["/tmp"]
    assert privileged == []
    assert programs == []
    assert installers == []
