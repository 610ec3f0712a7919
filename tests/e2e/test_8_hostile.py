"""A malicious model image, trained with like any other: none of its attacks may succeed.

`hostile/attacks.py` holds the attacks. The same program in pods without our guards shows that each
guard stops something.
"""

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import PASSWORD, Images, Stage, build_trainer
from tests.e2e.hostile.attacks import LINKS, SECRET, VICTIM
from tests.e2e.support import Deployment, curl, edit, kubectl

HOSTILE = "hostile"
LABEL = "hello-flask/e2e=hostile"
SECONDS = 120

Document = dict[str, Any]

NO_CAPABILITIES = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)

# The expected outcome of each attack.
GUARDED: dict[str, object] = {
    "list_other_experiments": [HOSTILE],
    "read_another_experiment": "ENOENT",
    "read_another_experiment_by_dots": "ENOENT",
    "read_another_experiment_by_a_link": "ENOENT",
    "read_another_experiment_by_a_descriptor": "ENOENT",
    "read_another_experiment_by_a_process": [HOSTILE],
    "read_the_root_of_the_pause_container": "ENOENT",  # it has no volumes
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
    "see_other_processes": ["1"],  # the pause process of its own pod, which shares its processes
    "find_a_service_account": "ENOENT",
    "find_secrets": [],
    "find_secret_variables": [],
    "read_secrets_from_kubernetes": "refused",
    "make_a_pod": "refused",
}
# What the container runtime or the API server refuses even without our guards.
ALWAYS_REFUSED = {
    "open_the_host_by_a_file_handle",
    "mount_the_input_writable",
    "mount_a_file_system",
    "see_other_processes",
    "read_the_root_of_the_pause_container",  # its volumes are mounted in the trainer only
    "read_secrets_from_kubernetes",
    "make_a_pod",
}


@dataclass(frozen=True)
class Guard:
    """A setting of the pod that stops attacks.

    Attributes:
        drop: removes it from a pod's spec and its container.
        stops: attacks whose outcome changes without this guard; on some nodes others change, too.
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
            "list_other_experiments",
            "read_another_experiment",
            "read_another_experiment_by_dots",
            "read_another_experiment_by_a_link",
            "read_another_experiment_by_a_descriptor",
            "read_another_experiment_by_a_process",
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
    """Build the hostile image."""
    return build_trainer("hostile", images.tag, tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def attacked(stage: Stage, images: Images, image: str) -> Iterator[Deployment]:
    """The backend, after the hostile experiment has ended."""
    backend = stage.train_with(image)
    for name in (VICTIM, HOSTILE):
        assert backend.post(name, epoch=1).status == 201
        backend.wait_until(name, "succeeded")
    yield backend
    edit(stage.yaml / "4_pod.yaml", "the model image", images.model)
    stage.remove_backend()


def outcomes(backend: Deployment, pod: str) -> dict[str, object]:
    """Return the outcomes of the attacks in a pod, by name."""
    lines = kubectl("-n", backend.namespace, "logs", pod).splitlines()
    return {line["attack"]: line["outcome"] for line in map(json.loads, lines)}


@pytest.fixture(scope="module")
def guarded(attacked: Deployment) -> dict[str, object]:
    (pod,) = attacked.pods_of(HOSTILE)
    return outcomes(attacked, pod["metadata"]["name"])


def pod_without(guards: Iterable[Guard], name: str, like: Document) -> Document:
    """Return a pod from a Job's template, without some guards."""
    spec = copy.deepcopy(like["spec"]["template"]["spec"])
    (container,) = spec["containers"]
    container["resources"] = {}  # so that all pods fit on a small node at once
    for variable in container["env"]:
        if variable["name"] == "EXPERIMENT_ID":
            variable["value"] = name  # any other name, so that it plants no links
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
    """The outcomes of the attacks, by the name of the missing guard; `all`: without any guard."""
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


def test_every_attack_is_judged(guarded: dict[str, object]) -> None:
    assert set(guarded) == set(GUARDED)


@pytest.mark.parametrize("attack", GUARDED)
def test_no_attack_succeeds(guarded: dict[str, object], attack: str) -> None:
    assert guarded[attack] == GUARDED[attack]


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_stops_something(unguarded: dict[str, dict[str, object]], guard: str) -> None:
    assert changed(unguarded[guard]) >= GUARDS[guard].stops


def test_attacks_succeed_without_guards(unguarded: dict[str, dict[str, object]]) -> None:
    assert set(GUARDED) - changed(unguarded["all"]) == ALWAYS_REFUSED
    assert unguarded["all"]["read_another_experiment"] == "the victim's secret"


def changed(outcomes: dict[str, object]) -> set[str]:
    return {name for name in GUARDED if outcomes[name] != GUARDED[name]}


def test_backend_follows_no_link(attacked: Deployment) -> None:
    files = f"/experiments/{HOSTILE}/files"
    listed = {file["path"] for file in attacked.get(files).json()["files"]}
    assert listed == {"inputs.json", "parameters.json", "run.json", "logs/1.log"}
    inside = (f"up/{VICTIM}/{SECRET}", "root/etc/passwd", f"logs/{SECRET}", "pipe.txt")
    for name in (*LINKS, *inside):
        answer = attacked.get(f"{files}/{name}")
        assert answer.status == (200 if name == "run.json" else 404), f"{name}: {answer}"
    with zipfile.ZipFile(io.BytesIO(attacked.get(f"{files}.zip").body)) as archive:
        whole = b"".join(map(archive.read, archive.namelist()))
    answers = [attacked.get(f"/experiments/{HOSTILE}{part}").body for part in ("", "/metrics")]
    for text in (whole, *answers):
        assert PASSWORD.encode() not in text
        assert b"the victim's secret" not in text


def test_other_experiment_is_untouched(attacked: Deployment) -> None:
    results = attacked.results(VICTIM)
    assert set(results) == {"inputs.json", "parameters.json", "run.json", SECRET}
    assert results[SECRET] == b"the victim's secret"
    assert json.loads(results["run.json"])["experiment_id"] == VICTIM


def test_hostile_files_can_be_deleted(attacked: Deployment) -> None:
    url = f"{attacked.url}/experiments/{HOSTILE}?outputs=true"
    answer = curl(url, "--request", "DELETE")
    assert answer is not None
    assert answer.status == 204, answer
    assert set(attacked.results(VICTIM)) == {"inputs.json", "parameters.json", "run.json", SECRET}
