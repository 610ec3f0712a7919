"""The Job of a gang, as it is sent to Kubernetes."""

from dataclasses import replace

import kubernetes_validate
import pytest
import yaml

from backend.domain.attempt import Attempt, Program
from backend.launchers.kubernetes.gangs.indexed_job import GANG_LABEL, SERVICE
from backend.launchers.kubernetes.manifest import render
from backend.settings import Settings
from tests.fakes.indexed_jobs import check_indexed, environment_of, pod_of_index
from tests.unit.manifests.support import KUBERNETES, YAML

ATTEMPT = Attempt(
    "first", "uid1", "own", 0.001, 20, None, 1, program=Program("registry:5000/own:1")
)
GANG = replace(ATTEMPT, nodes=3)
SETTINGS = Settings.from_environment(
    {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "i:1", "JOB_BACKOFF_LIMIT": "5"}
)


@pytest.mark.parametrize("version", KUBERNETES)
def test_gang_is_valid(version):
    job = render(GANG, SETTINGS)

    kubernetes_validate.validate(job, version, strict=True)
    check_indexed(job)


def test_gang_ends_with_its_first_failure():
    spec = render(GANG, SETTINGS)["spec"]

    assert (spec["completions"], spec["parallelism"]) == (3, 3)
    assert (spec["completionMode"], spec["backoffLimit"]) == ("Indexed", 0)
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["FailJob"]


def test_preempted_gang_does_not_fail():
    """Its pods exit with 143, which a Job in a queue does not count."""
    job = render(GANG, replace(SETTINGS, job_queue="team-a"))

    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["FailJob", "Ignore"]
    assert rules[1]["onExitCodes"]["values"] == [143]
    assert job["spec"]["suspend"] is True


def test_one_node_is_as_before():
    job = render(ATTEMPT, SETTINGS)

    assert "completionMode" not in job["spec"]
    assert job["spec"]["backoffLimit"] == 5
    assert "subdomain" not in job["spec"]["template"]["spec"]
    assert GANG_LABEL not in job["spec"]["template"]["metadata"]["labels"]
    names = {
        variable["name"] for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert not names & {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "NNODES"}


def test_workers_find_each_other():
    job = render(GANG, SETTINGS)
    pods = [pod_of_index(job, job["spec"]["template"], index) for index in range(3)]
    found = [environment_of({"metadata": metadata, "spec": spec}) for metadata, spec in pods]
    host_names = [f"{spec['hostname']}.{spec['subdomain']}" for _, spec in pods]

    assert [variables["NODE_RANK"] for variables in found] == ["0", "1", "2"]
    for variables in found:
        assert variables["MASTER_ADDR"] == host_names[0] == f"{GANG.handle}-0.{SERVICE}"
        assert (variables["MASTER_PORT"], variables["NNODES"]) == ("29500", "3")
        assert variables["OUTPUT_DIR"] == "/output/first"


def test_service_gives_the_pods_their_names():
    """Without it, no host name of a pod can be resolved."""
    documents = list(yaml.safe_load_all((YAML / "5_svc.yaml").read_text()))
    (service,) = (one for one in documents if one["metadata"]["name"] == SERVICE)
    labels = render(GANG, SETTINGS)["spec"]["template"]["metadata"]["labels"]

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True  # before all of them are ready
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["metadata"]["namespace"] == SETTINGS.job_namespace


def test_longest_name_leaves_room_for_the_index():
    longest = replace(GANG, experiment_id="x" * 200, model="m" * 32, nodes=32)
    job = render(longest, SETTINGS)

    assert len(job["metadata"]["name"]) == 60
    check_indexed(job)
