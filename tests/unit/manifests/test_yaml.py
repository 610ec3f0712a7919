import re
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from backend import __version__ as VERSION
from backend import settings
from backend.domain.attempt import Attempt
from backend.files.catalogue.entries import BUILT_IN, CatalogueFiles
from backend.launchers.kubernetes import manifest as job_manifest
from backend.launchers.kubernetes.probe_manifest import on_node, probe_job
from tests.unit.manifests.pod_rules import (
    containers_of,
    exceptions,
    pod_of,
    restricted,
    violations,
)
from tests.unit.manifests.support import (
    KUBERNETES,
    ROOT,
    YAML,
    Document,
    documents,
    manifest_files,
    only,
)

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
    "models.yaml": [
        "image: localhost:5000/table:1",
        f"image: localhost:5000/autoencoder:{VERSION}",
    ],
    "preflight.yaml": [f"image: localhost:5000/hello-flask:{VERSION}"],
    "db/0_secret.yaml": ["root-password: change-me", "password: testpassword"],
    "db/1_pv.yaml": ["path: /data/hello-flask/mysql", "- my-node"],
}


@pytest.fixture(scope="module")
def applied() -> list[Document]:
    """The documents that the documented commands apply, including the database's."""
    return [document for file in manifest_files() for document in documents(file)]


def test_numbered_files_as_documented() -> None:
    names = [str(file.relative_to(YAML)) for file in manifest_files()]
    optional = ("db/", "namespace/", "networkpolicy.yaml", "models.yaml", "preflight.yaml")
    assert sorted(n for n in names if not n.startswith(optional)) == sorted(DOCUMENTED_ORDER)


@pytest.mark.parametrize("version", KUBERNETES)
def test_documents_are_valid(applied: list[Document], version: str) -> None:
    assert len(applied) > len(DOCUMENTED_ORDER)
    for document in applied:
        kubernetes_validate.validate(document, version, strict=True)


def test_places_to_edit_are_marked() -> None:
    marked = {
        str(file.relative_to(YAML)): [
            line.split("  # EDIT: ")[0].strip()
            for line in file.read_text().splitlines()
            if "# EDIT: " in line
        ]
        for file in manifest_files()
        if "# EDIT" in file.read_text()
    }
    assert marked == EDITS


def test_every_object_names_its_namespace(applied: list[Document]) -> None:
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
def test_volume_and_claim_match(applied: list[Document], name: str, mode: str) -> None:
    volume = only("PersistentVolume", name, applied)["spec"]
    claim = only("PersistentVolumeClaim", name, applied)["spec"]
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


def test_backend_has_least_privilege(applied: list[Document]) -> None:
    assert only("ClusterRole", "hello-flask", applied)["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}
    ]
    assert only("Role", "hello-flask", applied)["rules"] == [
        {
            "apiGroups": ["batch"],
            "resources": ["jobs"],
            "verbs": ["create", "get", "list", "watch", "delete"],
        },
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
        {
            "apiGroups": [""],
            "resources": ["services"],
            "resourceNames": ["hello-flask-training"],
            "verbs": ["get"],
        },
        {"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["list"]},
    ]
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        binding = only(kind, "hello-flask", applied)
        assert binding["roleRef"]["kind"] == kind.removesuffix("Binding")
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "hello-flask", "namespace": "default"}
        ]


def environment(container: Document) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def test_roles_share_image_and_settings(applied: list[Document]) -> None:
    pod = only("Pod", "hello-flask", applied)["spec"]
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


def test_backend_reads_every_setting(applied: list[Document], tmp_path: Path) -> None:
    pod = only("Pod", "hello-flask", applied)["spec"]
    environ = environment(pod["containers"][0])
    assert environ["DB_PASSWORD_FILE"] == "/run/secrets/hello-flask-db/password"
    password = tmp_path / "password"
    password.write_text("testpassword\n")
    environ["DB_PASSWORD_FILE"] = str(password)
    read, known = settings.read(environ | {"LAUNCHER": "kubernetes"})
    assert set(environ) - {"DB_PASSWORD_FILE"} <= known
    assert "DB_PASSWORD" in known
    assert read.database_url.render_as_string(hide_password=False) == (
        "mysql+pymysql://testuser:testpassword@hello-flask-mysql.default.svc:31111/testdb"
    )
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {"input": read.input_pvc, "output": read.output_pvc}


def test_folders_prepared_for_training_user(applied: list[Document]) -> None:
    pod = only("Pod", "hello-flask", applied)["spec"]
    assert pod["securityContext"]["runAsUser"] == job_manifest.USER
    assert pod["securityContext"]["runAsGroup"] == job_manifest.USER
    command = pod["initContainers"][0]["command"]
    assert f"chgrp {job_manifest.USER} /input /output" in command[-1]
    (container,) = only("Job", "prepare-folders", applied)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == command
    assert container["volumeMounts"] == pod["initContainers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("service", "port", "node_port"),
    [("hello-flask", 5000, 31112), ("hello-flask-mysql", 3306, 31111)],
)
def test_service_reaches_the_pod(
    applied: list[Document], service: str, port: int, node_port: int
) -> None:
    spec = only("Service", service, applied)["spec"]
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


def test_probes_use_port_of_role(applied: list[Document]) -> None:
    pod = only("Pod", "hello-flask", applied)["spec"]
    for container, port in zip(pod["containers"], ("http", "health"), strict=True):
        assert [p["name"] for p in container["ports"]] == [port]
        probes = {
            probe: container[probe]["httpGet"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert probes == {
            "startupProbe": {"path": "/healthz", "port": port},
            "livenessProbe": {"path": "/healthz", "port": port},
            "readinessProbe": {"path": "/readyz", "port": port},
        }


ROOT_INIT_CONTAINER = ["runAsNonRoot", "runAsUser", "capabilities.add"]


def test_only_init_containers_unrestricted(applied: list[Document]) -> None:
    found = {
        document["metadata"]["name"]: restricted(pod)
        for document in applied
        if (pod := pod_of(document))
    }
    assert found == {
        "hello-flask": [f"prepare-folders: {rule}" for rule in ROOT_INIT_CONTAINER],
        "hello-flask-preflight": [],
        "hello-flask-mysql": [f"prepare-folder: {rule}" for rule in ROOT_INIT_CONTAINER],
        "prepare-folders": ["pod: volume.input", "pod: volume.output"]
        + [f"prepare-folders: {rule}" for rule in ROOT_INIT_CONTAINER],
    }


@pytest.mark.parametrize("file", manifest_files(), ids=lambda file: str(file.relative_to(YAML)))
def test_pods_keep_the_rules(file: Path) -> None:
    """Every pod follows the rules but for the exceptions stated beside its lines."""
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
def test_broken_rule_is_found(line: str, rule: str) -> None:
    text = (YAML / "4_pod.yaml").read_text()
    text = text.replace("automountServiceAccountToken: true", "automountServiceAccountToken: false")
    assert rule not in violations(yaml.safe_load(text))
    key, _, value = line.partition(":")
    broken = text.replace(line, f"{key.replace(key.strip(), 'other')}:{value}")
    assert rule in violations(yaml.safe_load(broken))


def test_training_job_keeps_the_rules() -> None:
    """The exceptions are explained in launchers/kubernetes/manifest.py."""
    attempt = Attempt("r", "0" * 32, "autoencoder", 0.001, 1, None, 1)
    environ = {"AE_MODEL_IMAGE_URL": "registry:5000/autoencoder:1"}
    job = job_manifest.render(attempt, settings.Settings.from_environment(environ))
    pod = pod_of(job)
    assert pod
    assert [c["name"] for c in containers_of(pod)] == [job_manifest.CONTAINER]
    assert violations(pod) == [
        "pod: shareProcessNamespace",
        "pod: sizeLimit.tmp",
        "train: limits.cpu",
    ]


def test_overlays_are_links() -> None:
    assert (YAML / "dedicated").readlink() == Path()
    for name in ("storage", "ha", "kueue"):
        assert (YAML / name).readlink() == Path("../overlays") / name


def test_preflight_has_the_rights_that_it_uses(applied: list[Document]) -> None:
    """Each request of the check is allowed; none of the backend's own rights are its."""
    assert only("ClusterRole", "hello-flask-preflight", applied)["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["get"]},
    ]
    assert only("Role", "hello-flask-preflight", applied)["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get"]},
    ]
    job = only("Job", "hello-flask-preflight", applied)["spec"]["template"]
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "preflight"
    (container,) = job["spec"]["containers"]
    assert container["command"] == ["python", "-m", "backend", "preflight"]
    read, _ = settings.read(environment(container) | {"LAUNCHER": "kubernetes"})
    pod = only("Pod", "hello-flask", applied)["spec"]
    assert {read.input_pvc, read.output_pvc} == {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }


def test_probe_keeps_the_rules() -> None:
    read, _ = settings.read({"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "registry/a:1"})
    words = ["write", "0" * 16, "node-1"]
    job = on_node(probe_job("preflight-write-0", "registry/b:1", words, read, 240), "node-1")
    for version in KUBERNETES:
        kubernetes_validate.validate(job, version, strict=True)
    assert restricted(job["spec"]["template"]) == []
    assert (
        job["spec"]["template"]["metadata"]["labels"]
        .items()
        .isdisjoint(
            {
                ("app.kubernetes.io/component", "training"),
                ("app.kubernetes.io/component", "backend"),
            }
        )
    )


def test_backend_and_mysql_agree(applied: list[Document]) -> None:
    backend = environment(only("Pod", "hello-flask", applied)["spec"]["containers"][0])
    (mysql,) = only("StatefulSet", "hello-flask-mysql", applied)["spec"]["template"]["spec"][
        "containers"
    ]
    database = environment(mysql)
    assert backend["DB_USER"] == database["MYSQL_USER"]
    assert backend["DB_NAME"] == database["MYSQL_DATABASE"]
    (port,) = only("Service", "hello-flask-mysql", applied)["spec"]["ports"]
    assert backend["DB_PORT"] == str(port["port"]) == str(port["nodePort"])


def test_uncommenting_enables_tokens(applied: list[Document]) -> None:
    text = re.sub(
        r"# (- name: API_TOKEN_FILE\n +)# (  value:)", r"\1\2", (YAML / "4_pod.yaml").read_text()
    )
    pod = yaml.safe_load(text)["spec"]
    token_file = environment(pod["containers"][0])["API_TOKEN_FILE"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "api-tokens"]
    assert token_file == f"{mount['mountPath']}/tokens"
    assert "subPath" not in mount
    assert "API_TOKEN_FILE" not in environment(
        only("Pod", "hello-flask", applied)["spec"]["containers"][0]
    )


def test_uncommenting_enables_webhooks(applied: list[Document], tmp_path: Path) -> None:
    """With the Secret of the documentation mounted, the settings have its target."""
    text = (YAML / "4_pod.yaml").read_text()
    web = yaml.safe_load(re.sub(r"# (- name: WEBHOOK|  value:)", r"\1", text))["spec"][
        "containers"
    ][0]
    (mount,) = [m for m in web["volumeMounts"] if m["name"] == "webhooks"]
    variables = {n: v for n, v in environment(web).items() if n.startswith("WEBHOOK_")}
    page = (ROOT / "docs" / "operations.md").read_text()
    for key, value in re.findall(r"--from-literal=(urls|secret)='?([^'\n]+)", page):
        (tmp_path / key).write_text(value)
    for name in ("WEBHOOK_URL_FILE", "WEBHOOK_SECRET_FILE"):
        variables[name] = variables[name].replace(mount["mountPath"], str(tmp_path))

    chosen, _ = settings.read(variables)

    assert [target.url for target in chosen.webhooks] == [
        "https://hooks.slack.com/services/T0/B0/secret"
    ]
    assert chosen.webhook_secret
    assert "subPath" not in mount
    disabled = environment(only("Pod", "hello-flask", applied)["spec"]["containers"][0])
    assert not [name for name in disabled if name.startswith("WEBHOOK_")]


def test_models_are_entries_of_the_catalogue(tmp_path: Path) -> None:
    """Mounted as the kubelet does it, both entries can be used."""
    for name, text in only("ConfigMap", "hello-flask-models", documents(YAML / "models.yaml"))[
        "data"
    ].items():
        (tmp_path / name).write_text(text)
    catalogue = CatalogueFiles([BUILT_IN, tmp_path], need_image=True).current()

    assert not catalogue.problems
    assert catalogue.entries.keys() >= {"autoencoder", "table", "wide-autoencoder"}


def test_ingresses_of_the_documentation_are_valid() -> None:
    text = (ROOT / "docs" / "proxy.md").read_text()
    blocks = re.findall(r"```yaml\n(apiVersion.*?)```", text, re.DOTALL)
    found = [one for block in blocks for one in yaml.safe_load_all(block)]
    assert [one["kind"] for one in found] == ["Middleware", "Ingress", "Ingress"]
    service = only("Service", "hello-flask", documents(YAML / "5_svc.yaml"))
    for ingress in found[1:]:
        for version in KUBERNETES:
            kubernetes_validate.validate(ingress, version, strict=True)
        (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
        port = path["backend"]["service"]["port"]["number"]
        assert port in {one["port"] for one in service["spec"]["ports"]}
