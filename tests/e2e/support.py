"""What the end-to-end tests use: kubectl, curl, the documented edits, and a deployment."""

import json
import re
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
MAY = {  # the backend's serviceAccount, in its namespace
    *(("jobs.batch", verb) for verb in ("create", "get", "list", "watch", "delete")),
    *(("pods", verb) for verb in ("get", "list", "watch")),
    ("pods/log", "get"),
    ("events", "list"),
    ("nodes", "get"),
}
CURL_NOTHING_ANSWERS = (7, 28, 52, 56)  # refused, timed out, empty, broken off (curl's manual)
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
    """Run kubectl and give what it prints; an AssertionError tells what it complained of."""
    result = run("kubectl", *arguments, stdin=stdin, timeout=timeout)
    assert result.returncode == 0, f"kubectl {' '.join(arguments)}:\n{result.stderr.decode()}"
    return result.stdout.decode()


def objects(*arguments: str) -> list[dict[str, Any]]:
    """Get Kubernetes objects: `objects("-n", "default", "pods")`."""
    items: list[dict[str, Any]] = json.loads(kubectl("get", "-o", "json", *arguments))["items"]
    return items


def eventually(
    check: Callable[[], T | None], *, seconds: float, what: str, explain: Callable[[], str]
) -> T:
    """Ask until `check` gives something, or fail with `what` and the explanation."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}\n{explain()}")
        time.sleep(0.2)


def granted(namespace: str, home: str, account: str) -> set[tuple[str, str]]:
    """Give what a serviceAccount of the namespace `home` may do in another or its own.

    Returns:
        The resource (`jobs.batch`) or address, and a verb; without what every account may.
    """

    def listed(user: str) -> set[tuple[str, str]]:
        table = kubectl("-n", namespace, "auth", "can-i", "--list", f"--as={user}")
        rows = [re.fullmatch(r"(\S*).*\[(.*)\]\s*", line) for line in table.splitlines()[1:]]
        return {(row[1], verb) for row in rows if row for verb in row[2].split()}

    everyone = listed("system:serviceaccount:default:hello-flask-nobody")
    return listed(f"system:serviceaccount:{home}:{account}") - everyone


@dataclass(frozen=True)
class Answer:
    """What an HTTP server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


def curl(url: str, *options: str) -> Answer | None:
    """Ask with curl, as a user does; None if nothing answers."""
    result = run("curl", "--silent", "--show-error", "--include", "--max-time", "30", *options, url)
    if result.returncode in CURL_NOTHING_ANSWERS:
        return None
    assert result.returncode == 0, f"{options} {url}: {result.stderr.decode()}"
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def edit(file: Path, what: str, value: str) -> None:
    """Set the value on the one line that is marked `# EDIT: {what}`."""
    marked = re.compile(
        rf"^( *(?:- )?(?:[\w-]+: )?(?:&\w+ )?)\S+(?=  # EDIT: {what})", re.MULTILINE
    )
    text, changes = marked.subn(lambda match: match[1] + value, file.read_text())
    assert changes == 1, f"{file.name}: {changes} lines are marked '# EDIT: {what}'"
    file.write_text(text)


@dataclass(frozen=True)
class Deployment:
    """A backend that runs in a cluster. `host_folder` is on the node, perhaps this machine."""

    namespace: str
    url: str
    host_folder: Path

    def get(self, path: str) -> Answer:
        """GET a path."""
        return self._answered(curl(self.url + path))

    def post(self, experiment_id: str, *, epoch: int = 3, **fields: str) -> Answer:
        """POST the documented form."""
        fields = {"learning_rate": "0.001", "epoch": str(epoch)} | fields
        fields["experiment_id"] = experiment_id
        form = [part for one in fields.items() for part in ("--form-string", "=".join(one))]
        return self._answered(curl(f"{self.url}/test", *form))

    def experiment(self, experiment_id: str) -> dict[str, Any]:
        """Look at one experiment."""
        answer = self.get(f"/experiments/{quote(experiment_id, safe='')}")
        assert answer.status == 200, answer
        experiment: dict[str, Any] = answer.json()
        return experiment

    def wait_until(
        self, experiment_id: str, status: str, *, seconds: float = 120
    ) -> dict[str, Any]:
        """Wait until a run has that status; another end than that is a failure at once."""

        def check() -> dict[str, Any] | None:
            experiment = self.experiment(experiment_id)
            ended = experiment["status"] in ("succeeded", "failed", "cancelled")
            assert not ended or experiment["status"] == status, f"{experiment}\n{self.explain()}"
            return experiment if experiment["status"] == status else None

        what = f"experiment {experiment_id!r} is {status}"
        return eventually(check, seconds=seconds, what=what, explain=self.explain)

    def jobs_of(self, experiment_id: str) -> list[dict[str, Any]]:
        """Get the Jobs that carry the experiment's id."""
        return [
            job
            for job in objects("-n", self.namespace, "jobs", "-l", OURS)
            if job["metadata"]["annotations"]["hello-flask/experiment-id"] == experiment_id
        ]

    def pods_of(self, experiment_id: str) -> list[dict[str, Any]]:
        """Get the pods of the experiment's one Job."""
        (job,) = self.jobs_of(experiment_id)
        return objects("-n", self.namespace, "pods", "-l", f"job-name={job['metadata']['name']}")

    def completions(self, job: str) -> str:
        """Read what `kubectl get job` shows a person."""
        header, line = kubectl("-n", self.namespace, "get", "job", job).splitlines()
        start = header.index("COMPLETIONS")
        return line[start:].split()[0]

    def in_web(self, *command: str, stdin: bytes | None = None) -> bytes:
        """Run a command in the web container."""
        pod = ("-n", self.namespace, "exec", "-i", "hello-flask", "-c", "web", "--")
        result = run("kubectl", *pod, *command, stdin=stdin)
        assert result.returncode == 0, f"{command}: {result.stderr.decode()}\n{self.explain()}"
        return result.stdout

    def put_input(self, name: str, content: bytes) -> None:
        """Put a file into the input folder."""
        self.in_web("sh", "-c", 'cat >"/input/$1"', "sh", name, stdin=content)

    def remove_input(self, name: str) -> None:
        """Remove a file from the input folder."""
        self.in_web("rm", "-f", f"/input/{name}")

    def results(self, experiment_id: str) -> dict[str, bytes]:
        """Read the files of a run: on the host if that is this machine, else through the pod."""
        folder = self.host_folder / "output" / experiment_id
        if folder.is_dir():
            return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        folder = Path("/output") / experiment_id
        names = self.in_web("ls", "-A", str(folder)).decode().splitlines()
        return {name: self.in_web("cat", str(folder / name)) for name in names}

    def wait_ready(self) -> None:
        """Wait until both containers are ready and the NodePort answers."""
        pod = ("-n", self.namespace, "wait", "--for=condition=Ready", "pod/hello-flask")
        result = run("kubectl", *pod, "--timeout=240s", timeout=270)
        assert result.returncode == 0, f"{result.stderr.decode()}\n{self.explain()}"

        def check() -> bool:
            answer = curl(f"{self.url}/readyz")
            return answer is not None and answer.status == 200

        eventually(check, seconds=30, what=f"{self.url} answers", explain=self.explain)

    def explain(self) -> str:
        """Gather what a person would look at when something does not work."""
        mine = ("-n", self.namespace)
        looks = [
            ("get", "pods,jobs,pvc,svc", *mine, "-o", "wide"),
            ("get", "events", *mine, "--sort-by=.lastTimestamp"),
            ("logs", *mine, "hello-flask", "-c", "web", "--tail=40"),
            ("logs", *mine, "hello-flask", "-c", "reconcile", "--tail=40"),
            ("logs", *mine, "-l", OURS, "--tail=20", "--prefix", "--ignore-errors"),
            ("logs", "-n", "default", "hello-flask-mysql-0", "-c", "mysql", "--tail=10"),
        ]
        told = [(look, run("kubectl", *look)) for look in looks]
        return "\n".join(
            f"--- kubectl {' '.join(look)}\n{(result.stdout or result.stderr).decode()[-4000:]}"
            for look, result in told
        )

    def _answered(self, answer: Answer | None) -> Answer:
        assert answer is not None, f"nothing answers at {self.url}\n{self.explain()}"
        return answer
