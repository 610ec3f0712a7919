"""Helpers of the end-to-end tests: kubectl, curl, the documented edits, and a deployment."""

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
OURS = "app.kubernetes.io/managed-by=hello-flask"
PERMITTED = {  # what the backend's serviceAccount may do in its namespace
    *(("jobs.batch", verb) for verb in ("create", "get", "list", "watch", "delete")),
    *(("pods", verb) for verb in ("get", "list", "watch")),
    ("pods/log", "get"),
    ("events", "list"),
    ("nodes", "get"),
    ("services", "get"),
    ("pods.metrics.k8s.io", "list"),
}
CURL_NO_ANSWER = (7, 28, 52, 56)  # refused, timed out, empty, cut off (curl(1), exit codes)
RESULTS = {
    "anomaly_scores.csv",
    "metrics.jsonl",
    "model.pt",
    "reconstructions.png",
    "run.json",
    "summary.json",
}
SETUP = (
    "setup/0_pv_input.yaml",
    "setup/0_pv_output.yaml",
    "setup/1_pvc_input.yaml",
    "setup/1_pvc_output.yaml",
    "setup/2_sa.yaml",
    "setup/3_crb.yaml",
)


def run(
    *command: str, stdin: bytes | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, whatever its exit code."""
    return subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=timeout, cwd=ROOT
    )


def kubectl(*arguments: str, stdin: bytes | None = None, timeout: float = 400) -> str:
    """Run kubectl and return its output; an AssertionError holds its error message."""
    result = run("kubectl", *arguments, stdin=stdin, timeout=timeout)
    assert result.returncode == 0, f"kubectl {' '.join(arguments)}:\n{result.stderr.decode()}"
    return result.stdout.decode()


def documented(heading: str) -> list[str]:
    """Return the commands of the first code block below a heading of docs/kubernetes.md."""
    _, _, section = (ROOT / "docs/kubernetes.md").read_text().partition(f"\n## {heading}\n")
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block, f"no commands below {heading!r}"
    return block[1].splitlines()


def uninstall() -> float:
    """Remove the backend as documented, and return how many seconds that took."""
    started = time.monotonic()
    for command in documented("Remove"):
        result = run(*shlex.split(command), timeout=400)
        assert result.returncode == 0, f"{command}: {(result.stdout + result.stderr).decode()}"
    return time.monotonic() - started


def objects(*arguments: str) -> list[dict[str, Any]]:
    """Get Kubernetes objects: `objects("-n", "default", "pods")`."""
    items: list[dict[str, Any]] = json.loads(kubectl("get", "-o", "json", *arguments))["items"]
    return items


def serves_metrics() -> bool:
    """Return whether the cluster serves metrics.k8s.io, as metrics-server does."""
    return run("kubectl", "get", "--raw", "/apis/metrics.k8s.io/v1beta1").returncode == 0


def knows_indexed_jobs() -> bool:
    """Return whether the cluster has Indexed Jobs: Kubernetes 1.22 and newer."""
    return run("kubectl", "explain", "job.spec.completionMode").returncode == 0


def eventually(
    check: Callable[[], T | None], *, seconds: float, what: str, explain: Callable[[], str]
) -> T:
    """Poll until `check` returns something true; fail with `what` and `explain()` if too late."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}\n{explain()}")
        time.sleep(0.2)


def granted(namespace: str, home: str, account: str) -> set[tuple[str, str]]:
    """Return what a serviceAccount of the namespace `home` may do in `namespace`.

    Returns:
        Pairs of a resource (`jobs.batch`) or URL and a verb, without those of every account.
    """

    def listed(user: str) -> set[tuple[str, str]]:
        table = kubectl("-n", namespace, "auth", "can-i", "--list", f"--as={user}")
        rows = [re.fullmatch(r"(\S*).*\[(.*)\]\s*", line) for line in table.splitlines()[1:]]
        return {(row[1], verb) for row in rows if row for verb in row[2].split()}

    everyone = listed("system:serviceaccount:default:hello-flask-nobody")
    return listed(f"system:serviceaccount:{home}:{account}") - everyone


@dataclass(frozen=True)
class Answer:
    """The answer of an HTTP server."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body as JSON."""
        return json.loads(self.body)


def curl(url: str, *options: str) -> Answer | None:
    """Request a URL with curl, as a user does; return None if nothing answers."""
    result = run("curl", "--silent", "--show-error", "--include", "--max-time", "30", *options, url)
    if result.returncode in CURL_NO_ANSWER:
        return None
    assert result.returncode == 0, f"{options} {url}: {result.stderr.decode()}"
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def edit(file: Path, what: str, value: str) -> None:
    """Set the value on the line that is marked `# EDIT: {what}`."""
    marked = re.compile(
        rf"^( *(?:- )?(?:[\w-]+: )?(?:&\w+ )?)\S+(?=  # EDIT: {what})", re.MULTILINE
    )
    text, changes = marked.subn(lambda match: match[1] + value, file.read_text())
    assert changes == 1, f"{file.name}: {changes} lines are marked '# EDIT: {what}'"
    file.write_text(text)


@dataclass(frozen=True)
class Deployment:
    """A backend that runs in a cluster; `host_folder` is on the node, which may be this machine."""

    namespace: str
    url: str
    host_folder: Path

    @property
    def workload(self) -> str:
        """What runs the backend: a bare pod or, in a namespace of its own, a Deployment."""
        return "pod/hello-flask" if self.namespace == "default" else "deployment/hello-flask"

    def get(self, path: str) -> Answer:
        """GET a path."""
        return self._answered(curl(self.url + path))

    def post(self, experiment_id: str, *, epoch: int = 3, **fields: str) -> Answer:
        """POST the documented form."""
        fields = {"learning_rate": "0.001", "epoch": str(epoch)} | fields
        fields["experiment_id"] = experiment_id
        form = [part for field in fields.items() for part in ("--form-string", "=".join(field))]
        return self._answered(curl(f"{self.url}/test", *form))

    def experiment(self, experiment_id: str) -> dict[str, Any]:
        """Return one experiment."""
        answer = self.get(f"/experiments/{quote(experiment_id, safe='')}")
        assert answer.status == 200, answer
        experiment: dict[str, Any] = answer.json()
        return experiment

    def wait_until(
        self, experiment_id: str, status: str, *, seconds: float = 120
    ) -> dict[str, Any]:
        """Wait until an experiment has that status; fail at once if it ends with another."""

        def check() -> dict[str, Any] | None:
            experiment = self.experiment(experiment_id)
            if experiment["status"] == status:
                return experiment
            has_ended = experiment["status"] in ("succeeded", "failed", "cancelled")
            assert not has_ended, f"{experiment}\n{self.explain()}"
            return None

        what = f"experiment {experiment_id!r} is {status}"
        return eventually(check, seconds=seconds, what=what, explain=self.explain)

    def wait_for_epoch(self, experiment_id: str, epoch: int, *, seconds: float = 90) -> None:
        """Wait until an experiment has finished that epoch."""
        eventually(
            lambda: self.experiment(experiment_id)["progress"]["epoch"] >= epoch,
            seconds=seconds,
            what=f"epoch {epoch} of {experiment_id!r} is finished",
            explain=self.explain,
        )

    def wait_for_completions(self, job: str, completions: str) -> None:
        """Wait until `kubectl get job` shows those COMPLETIONS, such as `1/1`."""
        eventually(
            lambda: self.completions(job) == completions,
            seconds=60,
            what=f"the COMPLETIONS of {job} are {completions}",
            explain=self.explain,
        )

    def jobs_of(self, experiment_id: str) -> list[dict[str, Any]]:
        """Return the Jobs of an experiment."""
        return [
            job
            for job in objects("-n", self.namespace, "jobs", "-l", OURS)
            if job["metadata"]["annotations"]["hello-flask/experiment-id"] == experiment_id
        ]

    def pods_of(self, experiment_id: str) -> list[dict[str, Any]]:
        """Return the pods of an experiment that has a single Job."""
        (job,) = self.jobs_of(experiment_id)
        return objects("-n", self.namespace, "pods", "-l", f"job-name={job['metadata']['name']}")

    def completions(self, job: str) -> str:
        """Return the COMPLETIONS that `kubectl get job` shows."""
        header, line = kubectl("-n", self.namespace, "get", "job", job).splitlines()
        start = header.index("COMPLETIONS")
        return line[start:].split()[0]

    def in_web(self, *command: str, stdin: bytes | None = None) -> bytes:
        """Run a command in the web container, and return its output."""
        pod = ("-n", self.namespace, "exec", "-i", self.workload, "-c", "web", "--")
        result = run("kubectl", *pod, *command, stdin=stdin)
        assert result.returncode == 0, f"{command}: {result.stderr.decode()}\n{self.explain()}"
        return result.stdout

    def claim_database(self) -> None:
        """Move the database here as docs/operations.md says, once the web container runs.

        The container refuses to work on the database of another server, but does not exit.
        """

        def claimed() -> bool:
            command = ("exec", self.workload, "-c", "web", "--", "python", "-m", "backend", "claim")
            return run("kubectl", "-n", self.namespace, *command).returncode == 0

        eventually(claimed, seconds=240, what="the database is claimed", explain=self.explain)

    def put_input(self, name: str, content: bytes) -> None:
        """Write a file into the input folder."""
        self.in_web("sh", "-c", 'cat >"/input/$1"', "sh", name, stdin=content)

    def remove_input(self, name: str) -> None:
        """Remove a file from the input folder."""
        self.in_web("rm", "-f", f"/input/{name}")

    def results(self, experiment_id: str) -> dict[str, bytes]:
        """Read an experiment's files, on the host if it is this machine or through the pod."""
        folder = self.host_folder / "output" / experiment_id
        if folder.is_dir():
            return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        folder = Path("/output") / experiment_id
        names = self.in_web("ls", "-A", str(folder)).decode().splitlines()
        return {name: self.in_web("cat", str(folder / name)) for name in names}

    def wait_ready(self) -> None:
        """Wait until both containers are ready and the NodePort answers."""
        condition = "Ready" if self.workload.startswith("pod/") else "Available"
        waiting = ("-n", self.namespace, "wait", f"--for=condition={condition}", self.workload)
        result = run("kubectl", *waiting, "--timeout=240s", timeout=270)
        assert result.returncode == 0, f"{result.stderr.decode()}\n{self.explain()}"

        def check() -> bool:
            answer = curl(f"{self.url}/readyz")
            return answer is not None and answer.status == 200

        eventually(check, seconds=30, what=f"{self.url} answers", explain=self.explain)

    def explain(self) -> str:
        """Return what a person would inspect when something does not work."""
        mine = ("-n", self.namespace)
        commands = [
            ("get", "pods,jobs,pvc,svc", *mine, "-o", "wide"),
            ("get", "events", *mine, "--sort-by=.lastTimestamp"),
            ("logs", *mine, self.workload, "-c", "web", "--tail=40"),
            ("logs", *mine, self.workload, "-c", "reconcile", "--tail=40"),
            ("logs", *mine, "-l", OURS, "--tail=20", "--prefix", "--ignore-errors"),
            ("logs", "-n", "default", "hello-flask-mysql-0", "-c", "mysql", "--tail=10"),
        ]
        results = [(command, run("kubectl", *command)) for command in commands]
        return "\n".join(
            f"--- kubectl {' '.join(command)}\n{(result.stdout or result.stderr).decode()[-4000:]}"
            for command, result in results
        )

    def _answered(self, answer: Answer | None) -> Answer:
        assert answer is not None, f"nothing answers at {self.url}\n{self.explain()}"
        return answer
