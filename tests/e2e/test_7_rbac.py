"""The permissions of the backend's serviceAccount: each one is needed, and no other is granted.

Every case has an account of its own that lacks one verb of the rules in yaml/setup/3_crb.yaml. The
backend's own launcher works with that account's token, and shows what fails without the verb.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import kube_config

from backend.domain.attempt import Attempt
from backend.launchers.base import Job, LauncherUnavailable, Observation, Phase
from backend.launchers.kubernetes import watch as kubernetes_watch
from backend.launchers.kubernetes.launcher import KubernetesLauncher
from backend.settings import Settings
from tests.e2e.conftest import Images
from tests.e2e.support import (
    ROOT,
    eventually,
    granted,
    knows_indexed_jobs,
    kubectl,
    run,
    serves_metrics,
)

RULES = ROOT / "yaml/setup/3_crb.yaml"
NAMESPACE = "hello-flask-rbac"
LABEL = "hello-flask/e2e=rbac"
NO_SUCH = "hello-flask-no-such"  # node, or serviceAccount
SECONDS = 60

Document = dict[str, Any]
Permission = tuple[str, str, str]  # API group, resource, verb


@dataclass(frozen=True)
class Prepared:
    """Existing Jobs, and the launcher of an administrator.

    Attributes:
        ended: an attempt that has succeeded.
        refused: an attempt for which no pod can be created.
    """

    admin: KubernetesLauncher
    ended: Attempt
    refused: Attempt

    def submit(self, experiment_id: str, **spec: str) -> Attempt:
        """Submit an attempt with these fields in its pod's spec."""
        attempt = attempt_of(experiment_id)
        self.admin.submit(with_spec(self.admin.render(attempt), **spec))
        return attempt

    def wait_until(self, attempt: Attempt, is_met: Callable[[Observation], bool]) -> None:
        """Wait until the observation of an attempt meets a condition."""
        eventually(
            lambda: is_met(self.admin.observe([attempt.handle])[attempt.handle]),
            seconds=SECONDS,
            what=f"{attempt.experiment_id!r} is in the expected state",
            explain=explain,
        )


@dataclass(frozen=True)
class Account:
    """A serviceAccount and its launcher; `log` holds the messages of its watches."""

    name: str
    launcher: KubernetesLauncher
    kubeconfig: Path
    log: pytest.LogCaptureFixture


def submits_a_job(account: Account, prepared: Prepared) -> bool:
    job = with_spec(account.launcher.render(attempt_of(account.name)), serviceAccountName=NO_SUCH)
    return account.launcher.submit(job) in prepared.admin.observe()


def adopts_an_existing_job(account: Account, prepared: Prepared) -> bool:
    return account.launcher.submit(account.launcher.render(prepared.ended)) == prepared.ended.handle


def observes_all_jobs(account: Account, prepared: Prepared) -> bool:
    return account.launcher.observe()[prepared.ended.handle].phase is Phase.SUCCEEDED


def knows_when_a_pod_started(account: Account, prepared: Prepared) -> bool:
    return account.launcher.observe()[prepared.ended.handle].started_at is not None


def watches_for_changes(account: Account, _there: Prepared) -> bool:
    def answer() -> str | None:
        if account.launcher.changes(1.0) is not None:  # None: anything may have changed
            return "watching"
        return "refused" if "cannot watch resource" in account.log.text else None

    what = "both watches start, or one is refused"
    return eventually(answer, seconds=SECONDS, what=what, explain=explain) == "watching"


def follows_a_log(account: Account, prepared: Prepared) -> bool:
    (part,) = prepared.admin.log_source.parts(prepared.ended.handle)
    return next(iter(account.launcher.log_source.follow(part))) == b"hello"


def reads_a_log(account: Account, prepared: Prepared) -> bool:
    (part,) = prepared.admin.log_source.parts(prepared.ended.handle)
    return list(account.launcher.log_source.read(part)) == [b"hello"]


def explains_a_missing_pod(account: Account, prepared: Prepared) -> bool:
    return reason_of(account, prepared.refused) == "pod_refused"


def detects_a_dead_node(account: Account, prepared: Prepared) -> bool:
    # Created here, because the garbage collector deletes such a pod after 40 seconds.
    lost = prepared.submit(f"lost with its node: {account.name}", nodeName=NO_SUCH)
    pods = ("-n", NAMESPACE, "get", "pods", "-l", f"job-name={lost.handle}", "-o", "name")
    pod = eventually(
        lambda: kubectl(*pods).strip(), seconds=SECONDS, what="the Job has a pod", explain=explain
    )
    status = json.dumps({"status": {"phase": "Running"}})
    kubectl("-n", NAMESPACE, "patch", pod, "--subresource=status", "--type=merge", "-p", status)
    return reason_of(account, lost) == "node_not_ready"


def cancels_a_job(account: Account, prepared: Prepared) -> bool:
    attempt = prepared.submit(f"to cancel: {account.name}", serviceAccountName=NO_SUCH)
    account.launcher.cancel(attempt.handle)
    return attempt.handle not in prepared.admin.observe()


def measures_usage(account: Account, prepared: Prepared) -> bool:
    account.launcher.usage([prepared.ended.handle])
    return "What experiments use is not known" not in account.log.text


def notices_a_missing_service(account: Account, _there: Prepared) -> bool:
    gang = replace(attempt_of(f"gang of {account.name}"), nodes=2)
    try:
        account.launcher.submit(account.launcher.render(gang))
    except LauncherUnavailable as error:
        return error.diagnosis.reason == "service_missing"
    return False


Works = Callable[[Account, Prepared], bool]

NEEDED_FOR: dict[Permission, Works] = {
    ("batch", "jobs", "create"): submits_a_job,
    ("batch", "jobs", "get"): adopts_an_existing_job,
    ("batch", "jobs", "list"): observes_all_jobs,
    ("batch", "jobs", "watch"): watches_for_changes,
    ("batch", "jobs", "delete"): cancels_a_job,
    ("", "pods", "get"): follows_a_log,
    ("", "pods", "list"): knows_when_a_pod_started,
    ("", "pods", "watch"): watches_for_changes,
    ("", "pods/log", "get"): reads_a_log,
    ("", "events", "list"): explains_a_missing_pod,
    ("", "nodes", "get"): detects_a_dead_node,
    ("", "services", "get"): notices_a_missing_service,
    ("metrics.k8s.io", "pods", "list"): measures_usage,
}
OPTIONAL = {  # what newer clusters have, or some of them
    measures_usage: pytest.mark.metrics,
    notices_a_missing_service: pytest.mark.indexed_jobs,
}
FORBIDDEN = (
    "get secrets",
    "create pods",
    "create pods/exec",
    "delete pods",
    "create serviceaccounts/token",
    "list nodes",
    "create jobs -n default",
    "get secrets -n default",
    "get secrets -n kube-system",
    "list pods --all-namespaces",
)


def permissions(documents: list[Document]) -> set[Permission]:
    """Return the single permissions that rules grant."""
    return {
        (group, resource, verb)
        for document in documents
        for rule in document.get("rules", [])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rules() -> list[Document]:
    return list(yaml.safe_load_all(RULES.read_text()))


def as_listed(allowed: set[Permission]) -> set[tuple[str, str]]:
    """Return permissions as `kubectl auth can-i --list` names them."""
    return {(f"{what}.{group}" if group else what, verb) for group, what, verb in allowed}


def name_of(permission: Permission | None) -> str:
    """Return the name of the account that lacks this permission, and of its roles."""
    return "-".join(permission[:0:-1]).replace("/", "-") if permission else "everything"


def account_without(permission: Permission | None) -> list[Document]:
    """Return the manifests of an account that has all permissions but this one."""
    name = name_of(permission)
    account = {"name": name, "namespace": NAMESPACE}
    documents = rules()
    for document in documents:
        metadata = document["metadata"]
        metadata |= {"name": name, "labels": dict([LABEL.split("=")])}
        metadata |= {"namespace": NAMESPACE} if "namespace" in metadata else {}
        if "rules" in document:
            document["rules"] = [
                {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                for group, resource, verb in sorted(permissions([document]) - {permission})
            ]
        else:
            document["roleRef"]["name"] = name
            document["subjects"] = [{"kind": "ServiceAccount", **account}]
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, *documents]


def launcher_with(image: str) -> KubernetesLauncher:
    environ = {"LAUNCHER": "kubernetes", "JOB_NAMESPACE": NAMESPACE, "AE_MODEL_IMAGE_URL": image}
    environ |= {"JOB_CPU": "10m", "JOB_MEMORY": "64Mi"}
    return KubernetesLauncher(Settings.from_environment(environ))


def attempt_of(experiment_id: str) -> Attempt:
    return Attempt(experiment_id, "a-uid", "autoencoder", 0.001, 1, None, 1)


def with_spec(job: Job, **spec: str) -> Job:
    """Change a Job: its pod prints one line, mounts no volume, and has these fields in its spec."""
    pod = job["spec"]["template"]["spec"]
    pod["containers"][0] |= {"command": ["echo", "hello"], "volumeMounts": []}
    pod |= {"volumes": [], **spec}
    return job


def reason_of(account: Account, attempt: Attempt) -> str | None:
    diagnosis = account.launcher.observe([attempt.handle])[attempt.handle].diagnosis
    return diagnosis and diagnosis.reason


def explain() -> str:
    return run("kubectl", "-n", NAMESPACE, "get", "pods,jobs,events").stdout.decode()


def remove() -> None:
    kubectl("delete", "namespaces,clusterroles,clusterrolebindings", "-l", LABEL, "--timeout=170s")


@pytest.fixture(scope="module")
def prepared(images: Images) -> Iterator[Prepared]:
    remove()
    kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, LABEL)
    admin = launcher_with(images.flask)
    prepared = Prepared(admin, ended=attempt_of("ended"), refused=attempt_of("refused"))
    prepared.submit("ended")
    prepared.submit("refused", serviceAccountName=NO_SUCH)
    prepared.wait_until(prepared.ended, lambda seen: seen.phase is Phase.SUCCEEDED)
    prepared.wait_until(prepared.refused, lambda seen: seen.diagnosis is not None)
    yield prepared
    admin.close()
    remove()


@pytest.fixture
def permission(request: pytest.FixtureRequest) -> Permission | None:
    """The permission that the account lacks; none unless the test is parametrised."""
    lacks: Permission | None = getattr(request, "param", None)
    return lacks


@pytest.fixture
def account(
    permission: Permission | None,
    prepared: Prepared,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Account]:
    del prepared  # requested for its namespace
    name = name_of(permission)
    documents = {"apiVersion": "v1", "kind": "List", "items": account_without(permission)}
    kubectl("apply", "-f", "-", stdin=json.dumps(documents).encode())
    allowed = permissions(rules()) - {permission}
    eventually(
        lambda: granted(NAMESPACE, NAMESPACE, name) == as_listed(allowed),
        seconds=SECONDS,
        what=f"{name} may do {allowed} and no more",
        explain=lambda: str(granted(NAMESPACE, NAMESPACE, name)),
    )
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    token = kubectl("-n", NAMESPACE, "create", "token", name).strip()
    config["users"][0]["user"] = {"token": token}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    # The client has read KUBECONFIG on import.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    caplog.set_level(logging.INFO, kubernetes_watch.log.name)
    launcher = launcher_with(images.flask)
    yield Account(name, launcher, kubeconfig, caplog)
    launcher.close()


def test_every_permission_has_a_case() -> None:
    assert permissions(rules()) == set(NEEDED_FOR)


def test_all_permissions_suffice(account: Account, prepared: Prepared) -> None:
    optional = {measures_usage: serves_metrics, notices_a_missing_service: knows_indexed_jobs}
    tried = [works for works in NEEDED_FOR.values() if works not in optional or optional[works]()]
    broken = [works.__name__ for works in tried if not works(account, prepared)]
    assert broken == []


@pytest.mark.parametrize(
    "permission",
    [
        pytest.param(one, id=f"{one[2]} {one[1]}: {works.__name__}", marks=OPTIONAL.get(works, ()))
        for one, works in NEEDED_FOR.items()
    ],
    indirect=True,
)
def test_each_permission_is_needed(
    permission: Permission, account: Account, prepared: Prepared
) -> None:
    _, resource, verb = permission
    outcome = tried(NEEDED_FOR[permission], account, prepared)
    assert outcome == "broken" or f'cannot {verb} resource "{resource}"' in outcome


def tried(works: Works, account: Account, prepared: Prepared) -> str:
    """Return whether it works, or the API server's message."""
    try:
        return "works" if works(account, prepared) else "broken"
    except LauncherUnavailable as error:
        return error.diagnosis.message


def test_nothing_else_is_permitted(account: Account) -> None:
    ask = ("kubectl", f"--kubeconfig={account.kubeconfig}", "auth", "can-i")
    answers = {question: run(*ask, *question.split()) for question in FORBIDDEN}
    assert {question: answer.stdout for question, answer in answers.items()} == dict.fromkeys(
        FORBIDDEN, b"no\n"
    )
