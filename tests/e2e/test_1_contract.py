"""What the documentation promises, in the order in which a user tries it."""

import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import DATASET, Images, Stage
from tests.e2e.support import PERMITTED, RESULTS, ROOT, Answer, Deployment, granted, kubectl, run

UNUSUAL_IDS = ("실험 1", "$(EPOCH)", "a:b")


def test_printed_commands_list_tags(images: Images) -> None:
    commands = [line for line in images.printed.splitlines() if line.startswith("  curl ")]
    models = sorted(path.parent.name for path in ROOT.glob("models/*/Dockerfile"))
    for command, name in zip(commands, ("hello-flask", *models), strict=True):
        answer = json.loads(run(*shlex.split(command)).stdout)
        assert answer["name"].endswith(name)
        assert images.tag in answer["tags"]


def test_hello(backend: Deployment) -> None:
    answer = backend.get("/")
    assert (answer.status, answer.body) == (200, b"Hello Flask!")


def test_model_lists_experiments(backend: Deployment) -> None:
    answer = backend.get("/model")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json(), list)


def test_form_trains_a_model(backend: Deployment) -> None:
    answer = backend.post("first", epoch=3)
    assert answer.status == 201
    created = answer.json()
    assert created["message"] == "Job Created"
    assert created["status"] == "queued"
    assert backend.completions(created["job"]) == "0/1"

    experiment = backend.wait_until("first", "succeeded")
    backend.wait_for_completions(created["job"], "1/1")
    assert experiment["progress"] == {"epoch": 3, "epochs": 3}
    assert [step["to_status"] for step in experiment["history"]] == [
        "submitting",
        "queued",
        "running",
        "succeeded",
    ]
    (listed,) = [e for e in backend.get("/model").json() if e["experiment_id"] == "first"]
    assert listed["status"] == "succeeded"

    results = backend.results("first")
    assert set(results) >= RESULTS
    assert [json.loads(line)["epoch"] for line in results["metrics.jsonl"].splitlines()] == [
        1,
        2,
        3,
    ]
    assert results["reconstructions.png"].startswith(b"\x89PNG")
    assert json.loads(results["run.json"])["experiment_id"] == "first"


@pytest.fixture(scope="module")
def unusable(stage: Stage) -> Iterator[Answer]:
    """Submit an experiment with broken data.

    It starts early, because Kubernetes before 1.26 ignores podFailurePolicy and tries four times.
    """
    backend = stage.default()
    backend.put_input("broken.npz", b"this is not an archive")
    yield backend.post("unusable", dataset="broken.npz")
    backend.remove_input("broken.npz")


def test_existing_data_set_is_accepted(unusable: Answer) -> None:
    assert unusable.status == 201


def test_repeated_form_starts_nothing(backend: Deployment) -> None:
    first = backend.post("again", epoch=1, dataset=DATASET)
    again = backend.post("again", epoch=1, dataset=DATASET)
    other = backend.post("again", epoch=2, dataset=DATASET)
    assert [answer.status for answer in (first, again, other)] == [201, 200, 409]
    assert again.json()["message"] == "Job Already Created"
    assert again.json()["job"] == first.json()["job"]
    assert other.headers["content-type"] == "application/problem+json"
    assert len(backend.jobs_of("again")) == 1
    backend.wait_until("again", "succeeded")


def test_concurrent_forms_start_one_job(backend: Deployment) -> None:
    with ThreadPoolExecutor(10) as pool:
        forms = [pool.submit(backend.post, "at once", epoch=1, dataset=DATASET) for _ in range(10)]
    answers = [form.result() for form in forms]
    assert sorted(answer.status for answer in answers) == [200] * 9 + [201]
    assert len({answer.json()["job"] for answer in answers}) == 1
    assert len(backend.jobs_of("at once")) == 1
    backend.wait_until("at once", "succeeded")


@pytest.fixture(scope="module")
def submitted_together() -> set[str]:
    """Ids that were already submitted, so that the experiments train side by side."""
    return set()


@pytest.mark.parametrize("experiment_id", UNUSUAL_IDS)
def test_unusual_id_is_kept_everywhere(
    backend: Deployment, submitted_together: set[str], experiment_id: str
) -> None:
    for unusual_id in set(UNUSUAL_IDS) - submitted_together:
        answer = backend.post(unusual_id, dataset=DATASET)
        assert answer.status == 201, answer
        submitted_together.add(unusual_id)
    experiment = backend.wait_until(experiment_id, "succeeded")
    assert experiment["experiment_id"] == experiment_id
    (job,) = backend.jobs_of(experiment_id)
    assert re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", job["metadata"]["name"])
    results = backend.results(experiment_id)
    assert set(results) >= RESULTS
    assert json.loads(results["run.json"])["experiment_id"] == experiment_id
    (pod,) = backend.pods_of(experiment_id)
    (container,) = pod["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["EXPERIMENT_ID"].replace("$$", "$") == experiment_id


def test_training_pod_is_confined(backend: Deployment) -> None:
    """It has no token and no capabilities, and sees only its own folder."""
    assert backend.post("walls", epoch=1, dataset=DATASET).status == 201
    backend.wait_until("walls", "succeeded")
    (pod,) = backend.pods_of("walls")
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {"/input", "/output/walls", "/tmp"}
    assert mounts["/input"]["readOnly"] is True
    assert mounts["/output/walls"]["subPath"] == "walls"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    owner = backend.in_web("stat", "-c", "%u:%g", "/output/walls/model.pt")
    assert owner.strip() == b"10001:10001"


def test_backend_has_only_its_permissions(backend: Deployment) -> None:
    assert granted(backend.namespace, backend.namespace, "hello-flask") == PERMITTED
    assert granted("kube-system", backend.namespace, "hello-flask") == {("nodes", "get")}


def test_password_does_not_leak(backend: Deployment) -> None:
    for container in ("web", "reconcile"):
        pod = ("-n", backend.namespace, "exec", "hello-flask", "-c", container, "--")
        assert "testpassword" not in kubectl(
            *pod, "sh", "-c", "cat /proc/[0-9]*/environ | tr -d '\\0'"
        )
        assert "testpassword" not in kubectl(
            "-n", backend.namespace, "logs", "hello-flask", "-c", container
        )


def test_image_health_check_passes(backend: Deployment) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (command,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", dockerfile, re.MULTILINE)
    backend.in_web(*json.loads(command))


def test_backend_cannot_change_itself(backend: Deployment) -> None:
    script = "id -u; touch /app/x || touch /venv/x || touch /x || echo refused"
    assert backend.in_web("sh", "-c", f"{{ {script}; }} 2>/dev/null").split() == [
        b"10001",
        b"refused",
    ]


def test_unusable_data_is_diagnosed(backend: Deployment, unusable: Answer) -> None:
    experiment = backend.wait_until(unusable.json()["experiment_id"], "failed", seconds=240)
    assert experiment["diagnosis"]["reason"]
    assert "broken.npz" in experiment["diagnosis"]["message"]
    assert experiment["diagnosis"]["remedy"]
