"""The backend's serviceAccount, verb by verb: each is needed, and nothing else is allowed.

Every case has an account of its own, with the rules of yaml/setup/3_crb.yaml but for one verb, and
works by that account's token. What must not work without it is asked of the product's launcher.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from tests.e2e.support import ROOT, eventually, granted, kubectl, run

RULES = ROOT / "yaml/setup/3_crb.yaml"
NAMESPACE = "hello-flask-rbac"
LABEL = "hello-flask/e2e=rbac"
NO_SUCH = "hello-flask-no-such"  # node, or serviceAccount
SECONDS = 60

Document = dict[str, Any]
Permission = tuple[str, str, str]  # API group, resource, verb


@dataclass(frozen=True)
class Prepared:
    """Runs that there are, and the launcher of somebody who may do everything."""

    admin: KubernetesLauncher
    ended: Attempt
    refused: Attempt  # gets no pod

    def submit(self, experiment_id: str, **spec: str) -> Attempt:
        """Submit a run whose pod has this in its spec."""
        one = attempt_of(experiment_id)
        self.admin.submit(with_spec(self.admin.render(one), **spec))
        return one

    def eventually(self, one: Attempt, what: Callable[[Observation], bool]) -> None:
        """Wait until this is so of a run."""
        eventually(
            lambda: what(self.admin.observe([one.handle])[one.handle]),
            seconds=SECONDS,
            what=f"{one.experiment_id!r} is as it should be",
            explain=explain,
        )


@dataclass(frozen=True)
class Account:
    """An account at work; `log` holds what its watches say when they end."""

    name: str
    launcher: KubernetesLauncher
    kubeconfig: Path
    log: pytest.LogCaptureFixture


def submits_a_run(account: Account, there: Prepared) -> bool:
    job = with_spec(account.launcher.render(attempt_of(account.name)), serviceAccountName=NO_SUCH)
    return account.launcher.submit(job) in there.admin.observe()


def takes_over_a_job_that_is_there(account: Account, there: Prepared) -> bool:
    return account.launcher.submit(account.launcher.render(there.ended)) == there.ended.handle


def sees_how_all_jobs_are(account: Account, there: Prepared) -> bool:
    return account.launcher.observe()[there.ended.handle].phase is Phase.SUCCEEDED


def sees_when_a_pod_began(account: Account, there: Prepared) -> bool:
    return account.launcher.observe()[there.ended.handle].started_at is not None


def is_told_what_changes(account: Account, _there: Prepared) -> bool:
    def answer() -> str | None:
        if account.launcher.changes(1.0) is not None:  # None: anything may have changed
            return "told"
        return "refused" if "cannot watch resource" in account.log.text else None

    what = "both watches begin, or one is refused"
    return eventually(answer, seconds=SECONDS, what=what, explain=explain) == "told"


def follows_a_log(account: Account, there: Prepared) -> bool:
    (part,) = there.admin.log_source.parts(there.ended.handle)
    return next(iter(account.launcher.log_source.follow(part))) == b"hello"


def reads_a_log(account: Account, there: Prepared) -> bool:
    (part,) = there.admin.log_source.parts(there.ended.handle)
    return account.launcher.log_source.read(part) == [b"hello"]


def says_why_a_run_gets_no_pod(account: Account, there: Prepared) -> bool:
    return reason_of(account, there.refused) == "pod_refused"


def says_that_a_node_is_dead(account: Account, there: Prepared) -> bool:
    # The garbage collector takes such a pod after 40 seconds: it is made for this alone.
    lost = there.submit(f"lost with its node: {account.name}", nodeName=NO_SUCH)
    pods = ("-n", NAMESPACE, "get", "pods", "-l", f"job-name={lost.handle}", "-o", "name")
    pod = eventually(
        lambda: kubectl(*pods).strip(), seconds=SECONDS, what="it has a pod", explain=explain
    )
    status = json.dumps({"status": {"phase": "Running"}})
    kubectl("-n", NAMESPACE, "patch", pod, "--subresource=status", "--type=merge", "-p", status)
    return reason_of(account, lost) == "node_not_ready"


def cancels_a_run(account: Account, there: Prepared) -> bool:
    one = there.submit(f"to cancel: {account.name}", serviceAccountName=NO_SUCH)
    account.launcher.cancel(one.handle)
    return one.handle not in there.admin.observe()


Works = Callable[[Account, Prepared], bool]

NEEDED_FOR: dict[Permission, Works] = {
    ("batch", "jobs", "create"): submits_a_run,
    ("batch", "jobs", "get"): takes_over_a_job_that_is_there,
    ("batch", "jobs", "list"): sees_how_all_jobs_are,
    ("batch", "jobs", "watch"): is_told_what_changes,
    ("batch", "jobs", "delete"): cancels_a_run,
    ("", "pods", "get"): follows_a_log,
    ("", "pods", "list"): sees_when_a_pod_began,
    ("", "pods", "watch"): is_told_what_changes,
    ("", "pods/log", "get"): reads_a_log,
    ("", "events", "list"): says_why_a_run_gets_no_pod,
    ("", "nodes", "get"): says_that_a_node_is_dead,
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
    """Take rules apart, into one permission each."""
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
    """Write permissions as kubectl lists them."""
    return {(f"{what}.{group}" if group else what, verb) for group, what, verb in allowed}


def name_of(permission: Permission | None) -> str:
    """Name the account that lacks this, and its roles."""
    return "-".join(permission[:0:-1]).replace("/", "-") if permission else "everything"


def account_without(permission: Permission | None) -> list[Document]:
    """Make the account, with all rules but this one."""
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
    """Let a Job's pod print one line, without any volume, and have this in its spec."""
    pod = job["spec"]["template"]["spec"]
    pod["containers"][0] |= {"command": ["echo", "hello"], "volumeMounts": []}
    pod |= {"volumes": [], **spec}
    return job


def reason_of(account: Account, one: Attempt) -> str | None:
    diagnosis = account.launcher.observe([one.handle])[one.handle].diagnosis
    return diagnosis and diagnosis.reason


def explain() -> str:
    return run("kubectl", "-n", NAMESPACE, "get", "pods,jobs,events").stdout.decode()


def remove() -> None:
    kubectl("delete", "namespaces,clusterroles,clusterrolebindings", "-l", LABEL, "--timeout=170s")


@pytest.fixture(scope="module")
def there(images: Images) -> Iterator[Prepared]:
    remove()
    kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, LABEL)
    admin = launcher_with(images.flask)
    there = Prepared(admin, ended=attempt_of("ended"), refused=attempt_of("refused"))
    there.submit("ended")
    there.submit("refused", serviceAccountName=NO_SUCH)
    there.eventually(there.ended, lambda seen: seen.phase is Phase.SUCCEEDED)
    there.eventually(there.refused, lambda seen: seen.diagnosis is not None)
    yield there
    admin.close()
    remove()


@pytest.fixture
def permission(request: pytest.FixtureRequest) -> Permission | None:
    """What the account lacks: nothing, unless the test says so."""
    lacks: Permission | None = getattr(request, "param", None)
    return lacks


@pytest.fixture
def account(
    permission: Permission | None,
    there: Prepared,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Account]:
    del there  # the namespace is there
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
    # The client reads KUBECONFIG when it is imported.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    caplog.set_level(logging.INFO, kubernetes_watch.log.name)
    launcher = launcher_with(images.flask)
    yield Account(name, launcher, kubeconfig, caplog)
    launcher.close()


def test_every_permission_has_its_case() -> None:
    assert permissions(rules()) == set(NEEDED_FOR)


def test_with_all_of_them_everything_works(account: Account, there: Prepared) -> None:
    broken = [works.__name__ for works in NEEDED_FOR.values() if not works(account, there)]
    assert broken == []


@pytest.mark.parametrize(
    "permission",
    [
        pytest.param(one, id=f"{one[2]} {one[1]}: {works.__name__}")
        for one, works in NEEDED_FOR.items()
    ],
    indirect=True,
)
def test_without_one_of_them_something_breaks(
    permission: Permission, account: Account, there: Prepared
) -> None:
    _, resource, verb = permission
    outcome = tried(NEEDED_FOR[permission], account, there)
    assert outcome == "broken" or f'cannot {verb} resource "{resource}"' in outcome


def tried(works: Works, account: Account, there: Prepared) -> str:
    """Say whether it works, or what the API server says of it."""
    try:
        return "works" if works(account, there) else "broken"
    except LauncherUnavailable as error:
        return error.diagnosis.message


def test_it_may_do_nothing_else(account: Account) -> None:
    ask = ("kubectl", f"--kubeconfig={account.kubeconfig}", "auth", "can-i")
    answers = {question: run(*ask, *question.split()) for question in FORBIDDEN}
    assert {question: answer.stdout for question, answer in answers.items()} == dict.fromkeys(
        FORBIDDEN, b"no\n"
    )
