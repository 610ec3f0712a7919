"""A malicious model image, started as any other: nothing that it tries must work.

`hostile/attacks.py` says what it tries. The same program in a pod without our guards shows that it
is they that stop it.
"""

import copy
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import PASSWORD, Images, Stage, build
from tests.e2e.hostile.attacks import LINKS, SECRET, VICTIM
from tests.e2e.kit import ROOT, Deployment, curl, edit, kubectl

HOSTILE, UNGUARDED = "hostile", "unguarded"
SECONDS = 60
NO_CAPABILITIES = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)

# What each attempt comes to.
GUARDED: dict[str, object] = {
    "list_other_runs": [HOSTILE],
    "read_another_run": "ENOENT",
    "read_another_run_by_dots": "ENOENT",
    "read_another_run_by_a_link": "ENOENT",
    "read_another_run_by_a_descriptor": "ENOENT",
    "read_another_run_by_a_process": [HOSTILE],
    "open_the_host_by_a_file_handle": "EPERM",
    "rename_its_folder": "EROFS",
    "write_into_the_input": "EROFS",
    "change_the_input": "EROFS",
    "mount_the_input_writable": "EPERM",
    "mount_a_file_system": "EPERM",
    "find_places_to_write": [
        "/dev/mqueue",
        "/dev/shm",
        "/dev/termination-log",
        f"/output/{HOSTILE}",
        "/tmp",
    ],
    "be_somebody": [10001, 10001, 10001, [10001]],
    "become_root": "EPERM",
    "become_roots_group": "EPERM",
    "become_root_by_a_program_of_roots": "10001",
    "become_root_by_a_program_of_its_own": ["10001", "10001"],
    "have_capabilities": NO_CAPABILITIES | {"NoNewPrivs": 1, "Seccomp": 2},
    "make_a_user_namespace": "EPERM",
    "make_a_device": "EPERM",
    "change_its_root": "EPERM",
    "open_a_raw_socket": "EPERM",
    "see_other_processes": [],
    "find_a_service_account": "ENOENT",
    "find_secrets": [],
    "find_secret_variables": [],
    "read_secrets_from_kubernetes": 403,
    "make_a_pod": 403,
}
# What the container runtime or the API server refuses without any guard of ours.
REFUSED_ANYHOW = {
    "open_the_host_by_a_file_handle",
    "mount_the_input_writable",
    "mount_a_file_system",
    "see_other_processes",
    "read_secrets_from_kubernetes",
    "make_a_pod",
}


@pytest.fixture(scope="module")
def image(images: Images, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the hostile image, in a folder that looks like a checkout to build.sh."""
    checkout = tmp_path_factory.mktemp("hostile")
    for name in ("build.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    for folder in (checkout, checkout / "models/autoencoder"):
        shutil.copytree(ROOT / "tests/e2e/hostile", folder, dirs_exist_ok=True)
    _, model, _ = build(str(checkout / "build.sh"), f"{images.tag}-hostile")
    return model


@pytest.fixture(scope="module")
def attacked(stage: Stage, images: Images, image: str) -> Iterator[Deployment]:
    """The backend, once the hostile run is over."""
    backend = stage.train_with(image)
    for name in (VICTIM, HOSTILE):
        assert backend.post(name, epoch=1).status == 201
        backend.wait_until(name, "succeeded")
    yield backend
    edit(stage.yaml / "4_pod.yaml", "the model image", images.model)
    stage.remove_backend()


def outcomes(backend: Deployment, pod: str) -> dict[str, object]:
    """Read what the attempts in a pod came to."""
    lines = kubectl("-n", backend.namespace, "logs", pod).splitlines()
    return {one["attempt"]: one["outcome"] for one in map(json.loads, lines)}


@pytest.fixture(scope="module")
def guarded(attacked: Deployment) -> dict[str, object]:
    (pod,) = attacked.pods_of(HOSTILE)
    return outcomes(attacked, pod["metadata"]["name"])


def without_guards(pod: dict[str, Any]) -> dict[str, Any]:
    """Make a pod like this one, without what holds it back."""
    spec = copy.deepcopy(pod["spec"])
    (container,) = spec["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    environment |= {"EXPERIMENT_ID": UNGUARDED, "OUTPUT_DIR": f"/output/{UNGUARDED}"}
    environment |= {"DB_PASSWORD": "an example"}
    mounts = {"input": "/input", "output": "/output", "tmp": "/tmp"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"hello-flask-{UNGUARDED}", "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "env": [{"name": name, "value": value} for name, value in environment.items()],
                    "volumeMounts": [
                        {"name": name, "mountPath": path} for name, path in mounts.items()
                    ],
                }
            ],
            "volumes": [
                {"name": "input", "persistentVolumeClaim": {"claimName": "hello-flask-input"}},
                {"name": "output", "persistentVolumeClaim": {"claimName": "hello-flask-output"}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }


@pytest.fixture(scope="module")
def unguarded(attacked: Deployment) -> Iterator[dict[str, object]]:
    (hostile,) = attacked.pods_of(HOSTILE)
    pod = without_guards(hostile)
    name, within = pod["metadata"]["name"], ("-n", "default", f"--timeout={SECONDS}s")
    kubectl("apply", "-f", "-", stdin=json.dumps(pod).encode())
    try:
        kubectl("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", *within)
        yield outcomes(attacked, name)
    finally:
        kubectl("-n", "default", "delete", "pod", name)


def test_every_attempt_is_judged(guarded: dict[str, object]) -> None:
    assert set(guarded) == set(GUARDED)


@pytest.mark.parametrize("attempt", GUARDED)
def test_no_attempt_gets_what_it_wants(guarded: dict[str, object], attempt: str) -> None:
    assert guarded[attempt] == GUARDED[attempt]


def test_it_is_our_guards_that_stop_them(unguarded: dict[str, object]) -> None:
    assert {name for name in GUARDED if unguarded[name] == GUARDED[name]} == REFUSED_ANYHOW
    assert unguarded["read_another_run"] == "the victim's secret"


def test_the_backend_follows_no_link(attacked: Deployment) -> None:
    files = f"/experiments/{HOSTILE}/files"
    listed = {one["path"] for one in attacked.get(files).json()["files"]}
    assert listed == {"run.json", "logs/1.log"}
    inside = (f"up/{VICTIM}/{SECRET}", "root/etc/passwd", f"logs/{SECRET}", "pipe.txt")
    for name in (*LINKS, *inside):
        answer = attacked.get(f"{files}/{name}")
        assert answer.status == (200 if name == "run.json" else 404), f"{name}: {answer}"
    with zipfile.ZipFile(io.BytesIO(attacked.get(f"{files}.zip").body)) as archive:
        whole = b"".join(map(archive.read, archive.namelist()))
    told = [attacked.get(f"/experiments/{HOSTILE}{part}").body for part in ("", "/metrics")]
    for text in (whole, *told):
        assert PASSWORD.encode() not in text
        assert b"the victim's secret" not in text


def test_the_other_run_is_as_it_was(attacked: Deployment) -> None:
    results = attacked.results(VICTIM)
    assert set(results) == {"run.json", SECRET}
    assert results[SECRET] == b"the victim's secret"
    assert json.loads(results["run.json"])["experiment_id"] == VICTIM


def test_what_it_left_can_be_removed(attacked: Deployment) -> None:
    url = f"{attacked.url}/experiments/{HOSTILE}?outputs=true"
    answer = curl(url, "--request", "DELETE")
    assert answer is not None
    assert answer.status == 204, answer
    assert set(attacked.results(VICTIM)) == {"run.json", SECRET}
