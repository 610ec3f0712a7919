"""A malicious model image, started as any other: nothing that it tries must work.

`hostile/attacks.py` says what it tries. The same program in a pod without our guards shows that it
is they that stop it.
"""

import copy
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import PASSWORD, Images, Stage, build
from tests.e2e.hostile.attacks import LINKS, SECRET, VICTIM
from tests.e2e.kit import ROOT, Deployment, curl, edit, kubectl

HOSTILE = "hostile"
LABEL = "hello-flask/e2e=hostile"
SECONDS = 120

Document = dict[str, Any]

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
    "make_a_folder_beside_its_own": "EROFS",
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
    "read_secrets_from_kubernetes": "refused",
    "make_a_pod": "refused",
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


@dataclass(frozen=True)
class Guard:
    """Something that holds an attacker back.

    Attributes:
        drop: take it away from a pod's spec and its container.
        stops: attempts that come to something else without it alone; on some nodes others may, too.
    """

    drop: Callable[[Document, Document], object]
    stops: set[str]


def drop_sub_path(_spec: Document, container: Document) -> None:
    mounts(container)["output"].update(mountPath="/output", subPath="")


def drop_read_only_input(spec: Document, container: Document) -> None:
    mounts(container)["input"]["readOnly"] = False
    for volume in spec["volumes"]:
        if volume["name"] == "input":
            volume["persistentVolumeClaim"]["readOnly"] = False


def mounts(container: Document) -> dict[str, Document]:
    return {mount["name"]: mount for mount in container["volumeMounts"]}


def in_pod(**changes: object) -> Callable[[Document, Document], object]:
    return lambda spec, _container: spec.update(changes)


def in_pods_context(**changes: object) -> Callable[[Document, Document], object]:
    return lambda spec, _container: spec["securityContext"].update(changes)


def in_containers_context(**changes: object) -> Callable[[Document, Document], object]:
    return lambda _spec, container: container["securityContext"].update(changes)


GUARDS = {
    "sub-path": Guard(
        drop_sub_path,
        {
            "list_other_runs",
            "read_another_run",
            "read_another_run_by_dots",
            "read_another_run_by_a_link",
            "read_another_run_by_a_descriptor",
            "read_another_run_by_a_process",
        },
    ),
    "read-only-input": Guard(drop_read_only_input, {"write_into_the_input", "change_the_input"}),
    "no-token": Guard(
        in_pod(automountServiceAccountToken=True), {"find_a_service_account", "find_secrets"}
    ),
    "no-service-links": Guard(in_pod(enableServiceLinks=True), {"find_secret_variables"}),
    "user": Guard(
        in_pods_context(runAsUser=0, runAsNonRoot=False),
        {"be_somebody", "become_root", "become_root_by_a_program_of_its_own"},
    ),
    "seccomp": Guard(
        in_pods_context(seccompProfile={"type": "Unconfined"}), {"make_a_user_namespace"}
    ),
    "no-escalation": Guard(
        in_containers_context(allowPrivilegeEscalation=True), {"become_root_by_a_program_of_roots"}
    ),
    "no-capabilities": Guard(in_containers_context(capabilities={}), {"have_capabilities"}),
    "read-only-root": Guard(
        in_containers_context(readOnlyRootFilesystem=False), {"find_places_to_write"}
    ),
}


@pytest.fixture(scope="module")
def image(images: Images, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the hostile image, in a folder that looks like a checkout to build.sh."""
    checkout = tmp_path_factory.mktemp("hostile")
    (checkout / "backend").mkdir()
    for name in ("build.sh", "backend/__init__.py"):
        shutil.copy(ROOT / name, checkout / name)
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


def pod_without(guards: Iterable[Guard], name: str, like: Document) -> Document:
    """Make a pod of a Job's template, without some guards."""
    spec = copy.deepcopy(like["spec"]["template"]["spec"])
    (container,) = spec["containers"]
    container["resources"] = {}  # so that a small node takes all of them at once
    for variable in container["env"]:
        if variable["name"] == "EXPERIMENT_ID":
            variable["value"] = name  # it plants no links then
    for guard in guards:
        guard.drop(spec, container)
    metadata = {
        "name": f"hello-flask-without-{name}",
        "namespace": "default",
        "labels": dict([LABEL.split("=")]),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def unguarded(attacked: Deployment) -> Iterator[dict[str, dict[str, object]]]:
    """By the guard that is missing, what the attempts come to; `all`: every guard."""
    (job,) = attacked.jobs_of(HOSTILE)
    missing = {name: [guard] for name, guard in GUARDS.items()} | {"all": list(GUARDS.values())}
    pods = [pod_without(guards, name, job) for name, guards in missing.items()]
    ours = ("-n", "default", "pods", "-l", LABEL)
    kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(pods).encode())
    try:
        done = "--for=jsonpath={.status.phase}=Succeeded"
        kubectl("wait", *ours, done, f"--timeout={SECONDS}s")
        yield {name: outcomes(attacked, f"hello-flask-without-{name}") for name in missing}
    finally:
        kubectl("delete", *ours)


def test_every_attempt_is_judged(guarded: dict[str, object]) -> None:
    assert set(guarded) == set(GUARDED)


@pytest.mark.parametrize("attempt", GUARDED)
def test_no_attempt_gets_what_it_wants(guarded: dict[str, object], attempt: str) -> None:
    assert guarded[attempt] == GUARDED[attempt]


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_stops_something(unguarded: dict[str, dict[str, object]], guard: str) -> None:
    assert changed(unguarded[guard]) >= GUARDS[guard].stops


def test_without_any_guard_everything_works(unguarded: dict[str, dict[str, object]]) -> None:
    assert set(GUARDED) - changed(unguarded["all"]) == REFUSED_ANYHOW
    assert unguarded["all"]["read_another_run"] == "the victim's secret"


def changed(outcomes: dict[str, object]) -> set[str]:
    return {name for name in GUARDED if outcomes[name] != GUARDED[name]}


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
