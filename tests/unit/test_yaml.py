import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from backend import __version__ as VERSION
from backend import settings
from backend.domain.attempt import Attempt
from backend.launchers.kubernetes import manifest as job_manifest
from tests.unit.pod_rules import containers_of, exceptions, pod_of, restricted, violations

ROOT = Path(__file__).parents[2]
YAML = ROOT / "yaml"
KUBERNETES = ("1.29", kubernetes_validate.latest_version())

DOCUMENTED_ORDER = [
    "setup/0_pv_input.yaml",
    "setup/0_pv_output.yaml",
    "setup/1_pvc_input.yaml",
    "setup/1_pvc_output.yaml",
    "setup/2_sa.yaml",
    "setup/3_crb.yaml",
    "4_pod.yaml",
    "5_svc.yaml",
]
EDITS = {
    "setup/0_pv_input.yaml": ["path: /data/hello-flask/input", "- my-node"],
    "setup/0_pv_output.yaml": ["path: /data/hello-flask/output", "- my-node"],
    "4_pod.yaml": [
        f"image: &flask_image localhost:5000/hello-flask:{VERSION}",
        "value: hello-flask-mysql.default.svc",
        f"value: localhost:5000/autoencoder:{VERSION}",
    ],
    "db/0_secret.yaml": ["root-password: change-me", "password: testpassword"],
    "db/1_pv.yaml": ["path: /data/hello-flask/mysql", "- my-node"],
}

Document = dict[str, Any]


def documents(file: Path) -> list[Document]:
    return list(yaml.safe_load_all(file.read_text()))


def files() -> list[Path]:
    """Every file once: dedicated/ is a link to the folder it stands in."""
    return [
        file
        for folder in (YAML, YAML / "setup", YAML / "db", YAML / "namespace")
        for file in sorted(folder.glob("*.yaml"))
        if file.name != "kustomization.yaml"
    ]


def one(kind: str, name: str, among: list[Document]) -> Document:
    found = [d for d in among if d["kind"] == kind and d["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} x {kind} {name}"
    return found[0]


def kustomize(folder: Path) -> list[Document]:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", f"{folder}/dedicated/"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture(scope="module")
def applied() -> list[Document]:
    """What the documented commands apply, the database's included."""
    return [document for file in files() for document in documents(file)]


@pytest.fixture(scope="module")
def dedicated() -> list[Document]:
    return kustomize(YAML)


def test_the_numbered_files_are_those_of_the_document() -> None:
    names = [str(file.relative_to(YAML)) for file in files()]
    optional = ("db/", "namespace/", "networkpolicy.yaml")
    assert sorted(n for n in names if not n.startswith(optional)) == sorted(DOCUMENTED_ORDER)


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_document_is_valid(applied: list[Document], version: str) -> None:
    assert len(applied) > len(DOCUMENTED_ORDER)
    for document in applied:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_document_of_the_dedicated_namespace_is_valid(
    dedicated: list[Document], version: str
) -> None:
    for document in dedicated:
        kubernetes_validate.validate(document, version, strict=True)


def test_every_place_to_edit_is_marked_and_no_other() -> None:
    marked = {
        str(file.relative_to(YAML)): [
            line.split("  # EDIT: ")[0].strip()
            for line in file.read_text().splitlines()
            if "# EDIT: " in line
        ]
        for file in files()
        if "# EDIT" in file.read_text()
    }
    assert marked == EDITS


def test_everything_names_its_namespace(applied: list[Document]) -> None:
    cluster_wide = {"PersistentVolume", "ClusterRole", "ClusterRoleBinding", "Namespace"}
    for document in applied:
        expected = None if document["kind"] in cluster_wide else "default"
        if document["metadata"]["name"] == "prepare-folders":
            expected = "hello-flask-setup"
        assert document["metadata"].get("namespace") == expected, document["metadata"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("hello-flask-input", "ReadWriteMany"),
        ("hello-flask-output", "ReadWriteMany"),
        ("hello-flask-mysql", "ReadWriteOnce"),
    ],
)
def test_volume_and_claim_are_made_for_each_other(
    applied: list[Document], name: str, mode: str
) -> None:
    volume = one("PersistentVolume", name, applied)["spec"]
    claim = one("PersistentVolumeClaim", name, applied)["spec"]
    assert volume["claimRef"] == {"name": name, "namespace": "default"}
    assert claim["volumeName"] == name
    assert volume["accessModes"] == claim["accessModes"] == [mode]
    assert volume["storageClassName"] == claim["storageClassName"] == ""
    assert volume["capacity"] == claim["resources"]["requests"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["hostPath"]["type"] == "DirectoryOrCreate"
    (term,) = volume["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["my-node"]}
    ]


def test_the_backend_may_do_what_it_needs_and_no_more(applied: list[Document]) -> None:
    assert one("ClusterRole", "hello-flask", applied)["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}
    ]
    assert one("Role", "hello-flask", applied)["rules"] == [
        {
            "apiGroups": ["batch"],
            "resources": ["jobs"],
            "verbs": ["create", "get", "list", "watch", "delete"],
        },
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    ]
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        binding = one(kind, "hello-flask", applied)
        assert binding["roleRef"]["kind"] == kind.removesuffix("Binding")
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "hello-flask", "namespace": "default"}
        ]


def environment(container: Document) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def test_both_roles_run_one_image_with_the_same_settings(applied: list[Document]) -> None:
    pod = one("Pod", "hello-flask", applied)["spec"]
    (prepare,) = pod["initContainers"]
    web, reconcile = pod["containers"]
    assert web["command"] == ["python", "-m", "backend", "web"]
    assert reconcile["command"] == ["python", "-m", "backend", "reconcile"]
    assert {c["image"] for c in (prepare, web, reconcile)} == {
        f"localhost:5000/hello-flask:{VERSION}"
    }
    assert web["env"] == reconcile["env"]
    assert web["volumeMounts"] == reconcile["volumeMounts"]
    assert pod["serviceAccountName"] == "hello-flask"
    assert pod["restartPolicy"] == "Always"


def test_the_settings_are_ones_that_the_backend_reads(
    applied: list[Document], tmp_path: Path
) -> None:
    pod = one("Pod", "hello-flask", applied)["spec"]
    given = environment(pod["containers"][0])
    assert given["DB_PASSWORD_FILE"] == "/run/secrets/hello-flask-db/password"
    password = tmp_path / "password"
    password.write_text("testpassword\n")
    given["DB_PASSWORD_FILE"] = str(password)
    read, looked_for = settings.read(given | {"LAUNCHER": "kubernetes"})
    assert set(given) - {"DB_PASSWORD_FILE"} <= looked_for
    assert "DB_PASSWORD" in looked_for
    assert read.database_url.render_as_string(hide_password=False) == (
        "mysql+pymysql://testuser:testpassword@hello-flask-mysql.default.svc:31111/testdb"
    )
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {"input": read.input_pvc, "output": read.output_pvc}


def test_the_folders_are_prepared_for_the_user_of_training_pods(applied: list[Document]) -> None:
    pod = one("Pod", "hello-flask", applied)["spec"]
    assert pod["securityContext"]["runAsUser"] == job_manifest.USER
    assert pod["securityContext"]["runAsGroup"] == job_manifest.USER
    command = pod["initContainers"][0]["command"]
    assert f"chgrp {job_manifest.USER} /input /output" in command[-1]
    (container,) = one("Job", "prepare-folders", applied)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == command
    assert container["volumeMounts"] == pod["initContainers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("service", "port", "node_port"),
    [("hello-flask", 5000, 31112), ("hello-flask-mysql", 3306, 31111)],
)
def test_the_service_reaches_the_pod(
    applied: list[Document], service: str, port: int, node_port: int
) -> None:
    spec = one("Service", service, applied)["spec"]
    assert spec["type"] == "NodePort"
    assert [p["nodePort"] for p in spec["ports"]] == [node_port]
    reached = [
        pod
        for pod in (pod_of(document) for document in applied)
        if pod and spec["selector"].items() <= pod["metadata"]["labels"].items()
    ]
    assert len(reached) == 1
    named = {
        p["name"]: p["containerPort"] for c in reached[0]["spec"]["containers"] for p in c["ports"]
    }
    assert named[spec["ports"][0]["targetPort"]] == port


def test_probes_ask_the_port_of_their_role(applied: list[Document]) -> None:
    pod = one("Pod", "hello-flask", applied)["spec"]
    for container, port in zip(pod["containers"], ("http", "health"), strict=True):
        assert [p["name"] for p in container["ports"]] == [port]
        asked = {
            probe: container[probe]["httpGet"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert asked == {
            "startupProbe": {"path": "/healthz", "port": port},
            "livenessProbe": {"path": "/healthz", "port": port},
            "readinessProbe": {"path": "/readyz", "port": port},
        }


ROOT_INIT_CONTAINER = ["runAsNonRoot", "runAsUser", "capabilities.add"]


def test_only_the_init_containers_are_not_restricted(applied: list[Document]) -> None:
    found = {
        document["metadata"]["name"]: restricted(pod)
        for document in applied
        if (pod := pod_of(document))
    }
    assert found == {
        "hello-flask": [f"prepare-folders: {rule}" for rule in ROOT_INIT_CONTAINER],
        "hello-flask-mysql": [f"prepare-folder: {rule}" for rule in ROOT_INIT_CONTAINER],
        "prepare-folders": ["pod: volume.input", "pod: volume.output"]
        + [f"prepare-folders: {rule}" for rule in ROOT_INIT_CONTAINER],
    }


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(YAML)))
def test_every_pod_keeps_the_rules_but_for_the_exceptions_in_place(file: Path) -> None:
    pods = [pod for document in documents(file) if (pod := pod_of(document))]
    assert {rule for pod in pods for rule in violations(pod)} == exceptions(file)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("automountServiceAccountToken: false", "pod: automountServiceAccountToken"),
        ("enableServiceLinks: false", "pod: enableServiceLinks"),
        ("sizeLimit: 256Mi", "pod: sizeLimit.tmp"),
        ("readOnlyRootFilesystem: true", "web: readOnlyRootFilesystem"),
        ("  drop: [ALL]", "web: capabilities.drop"),
        ("livenessProbe:", "web: livenessProbe"),
        ("requests: {cpu: 100m, memory: 192Mi}", "web: requests.memory"),
        ('limits: {cpu: "1", memory: 512Mi}', "web: limits.cpu"),
    ],
)
def test_a_rule_that_is_broken_is_found(line: str, rule: str) -> None:
    text = (YAML / "4_pod.yaml").read_text()
    text = text.replace("automountServiceAccountToken: true", "automountServiceAccountToken: false")
    assert rule not in violations(yaml.safe_load(text))
    key, _, value = line.partition(":")
    broken = text.replace(line, f"{key.replace(key.strip(), 'other')}:{value}")
    assert rule in violations(yaml.safe_load(broken))


def test_a_job_of_ours_keeps_the_rules_but_for_two() -> None:
    """The exceptions are explained in job_manifest.py."""
    attempt = Attempt("r", "0" * 32, "autoencoder", 0.001, 1, None, 1)
    given = {"AE_MODEL_IMAGE_URL": "registry:5000/autoencoder:1"}
    job = job_manifest.render(attempt, settings.Settings.from_environment(given))
    pod = pod_of(job)
    assert pod
    assert [c["name"] for c in containers_of(pod)] == [job_manifest.CONTAINER]
    assert violations(pod) == ["pod: sizeLimit.tmp", "train: limits.cpu"]


def test_restricted_is_enforced_on_everything_in_the_dedicated_namespace(
    dedicated: list[Document],
) -> None:
    labels = one("Namespace", "hello-flask", dedicated)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = [
        pod
        for document in dedicated
        if document["metadata"].get("namespace") == "hello-flask" and (pod := pod_of(document))
    ]
    assert [pod["metadata"]["name"] for pod in pods] == ["hello-flask"]
    assert restricted(pods[0]) == []


def test_the_dedicated_namespace_holds_all_but_the_preparation(dedicated: list[Document]) -> None:
    assert not [d for d in dedicated if d["metadata"].get("namespace") == "default"]
    assert "default" not in {
        subject["namespace"] for d in dedicated for subject in d.get("subjects", [])
    }
    for document in dedicated:
        if document["kind"] == "PersistentVolume":
            assert document["spec"]["claimRef"]["namespace"] == "hello-flask"
    assert one("Job", "prepare-folders", dedicated)["metadata"]["namespace"] == "hello-flask-setup"


def test_the_dedicated_namespace_follows_the_edits(tmp_path: Path) -> None:
    copy = tmp_path / "yaml"
    shutil.copytree(YAML, copy, symlinks=True)
    for name, edits in {
        "setup/0_pv_input.yaml": [("/data/hello-flask/input", "/srv/in"), ("my-node", "host-7")],
        "setup/0_pv_output.yaml": [("/data/hello-flask/output", "/srv/out"), ("my-node", "host-7")],
        "4_pod.yaml": [("localhost:5000/hello-flask", "registry.example/hello-flask")],
    }.items():
        text = (copy / name).read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (copy / name).write_text(text)
    job = one("Job", "prepare-folders", kustomize(copy))["spec"]["template"]["spec"]
    assert job["containers"][0]["image"] == f"registry.example/hello-flask:{VERSION}"
    assert [v["hostPath"]["path"] for v in job["volumes"]] == ["/srv/in", "/srv/out"]
    assert re.findall("host-7|my-node", str(job["affinity"])) == ["host-7"]


def test_dedicated_is_a_link_that_stays_inside() -> None:
    assert (YAML / "dedicated").readlink() == Path()


def test_the_database_is_the_one_that_the_backend_is_told_of(applied: list[Document]) -> None:
    backend = environment(one("Pod", "hello-flask", applied)["spec"]["containers"][0])
    (mysql,) = one("StatefulSet", "hello-flask-mysql", applied)["spec"]["template"]["spec"][
        "containers"
    ]
    database = environment(mysql)
    assert backend["DB_USER"] == database["MYSQL_USER"]
    assert backend["DB_NAME"] == database["MYSQL_DATABASE"]
    (port,) = one("Service", "hello-flask-mysql", applied)["spec"]["ports"]
    assert backend["DB_PORT"] == str(port["port"]) == str(port["nodePort"])


def test_tokens_are_given_by_taking_a_comment_sign_away(applied: list[Document]) -> None:
    text = re.sub(
        r"# (- name: API_TOKEN_FILE\n +)# (  value:)", r"\1\2", (YAML / "4_pod.yaml").read_text()
    )
    pod = yaml.safe_load(text)["spec"]
    given = environment(pod["containers"][0])["API_TOKEN_FILE"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "api-tokens"]
    assert given == f"{mount['mountPath']}/tokens"
    assert "subPath" not in mount
    assert "API_TOKEN_FILE" not in environment(
        one("Pod", "hello-flask", applied)["spec"]["containers"][0]
    )
