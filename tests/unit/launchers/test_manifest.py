import json
import re
from dataclasses import replace

import kubernetes_validate
import pytest

from backend.domain.attempt import Attempt, Program
from backend.domain.catalogue import as_json
from backend.launchers.kubernetes.manifest import render
from backend.settings import Settings

OLDEST = "1.29"
NEWEST = kubernetes_validate.latest_version()
ATTEMPT = Attempt("first", "uid1", "autoencoder", 0.001, 20, None, 1)
SETTINGS = Settings.from_environment(
    {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "registry:5000/autoencoder:1"}
)


def container(job):
    return job["spec"]["template"]["spec"]["containers"][0]


def environment(job):
    return {variable["name"]: variable["value"] for variable in container(job)["env"]}


def check(job):
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(job, version, strict=True)


def test_environment_of_trainer():
    assert environment(render(ATTEMPT, SETTINGS)) == {
        "EXPERIMENT_ID": "first",
        "LEARNING_RATE": "0.001",
        "EPOCH": "20",
        "PARAM_LEARNING_RATE": "0.001",
        "PARAM_EPOCH": "20",
        "ATTEMPT": "1",
        "INPUT_DIR": "/input",
        "OUTPUT_DIR": "/output/first",
    }


def test_dataset_variable():
    job = render(replace(ATTEMPT, dataset="digits.npz"), SETTINGS)

    assert environment(job)["DATASET"] == "digits.npz"


def test_only_own_output_folder_mounted():
    mounts = container(render(ATTEMPT, SETTINGS))["volumeMounts"]

    assert mounts[:2] == [
        {"name": "input", "mountPath": "/input", "readOnly": True},
        {"name": "output", "mountPath": "/output/first", "subPath": "first"},
    ]


def test_colon_in_mount_path():
    job = render(replace(ATTEMPT, experiment_id="a:b"), SETTINGS)

    assert container(job)["volumeMounts"][1]["mountPath"] == "/output/run"
    assert container(job)["volumeMounts"][1]["subPath"] == "a:b"
    assert environment(job)["OUTPUT_DIR"] == "/output/run"


def test_id_is_not_expanded():
    job = render(replace(ATTEMPT, experiment_id="$(EPOCH)"), SETTINGS)

    assert environment(job)["EXPERIMENT_ID"] == "$$(EPOCH)"


def test_optional_settings():
    settings = replace(SETTINGS, job_gpu=2, job_deadline_seconds=60, job_queue="team-a")
    job = render(ATTEMPT, settings)

    check(job)
    assert container(job)["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert job["spec"]["activeDeadlineSeconds"] == 60
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"


def test_trainer_has_no_privileges():
    pod = render(ATTEMPT, SETTINGS)["spec"]["template"]["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(render(ATTEMPT, SETTINGS))["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_job_is_valid(version):
    kubernetes_validate.validate(render(ATTEMPT, SETTINGS), version, strict=True)


def expanded(text, environment):
    """Expand a value as the kubelet does (kubernetes/third_party/forked/golang/expansion)."""
    return re.sub(
        r"\$(\$|\(([^)]*)\))",
        lambda match: "$" if match[1] == "$" else environment.get(match[2], match[0]),
        text,
    )


@pytest.mark.parametrize(
    "text", ["$(EPOCH)", "$$(EPOCH)", "$", "\"'`\\;\n\r\t{{x}}", "", "가" * 3000]
)
def test_parameters_reach_the_trainer_as_they_are(text):
    values = as_json({"text": text, "flag": True, "rate": 0.5, "count": 3})
    job = render(replace(ATTEMPT, model_parameters=values), SETTINGS)

    check(job)
    variables = environment(job)
    assert expanded(variables["PARAM_TEXT"], variables) == text
    assert (variables["PARAM_FLAG"], variables["PARAM_RATE"]) == ("true", "0.5")
    assert variables["PARAM_COUNT"] == "3"
    annotations = job["metadata"].pop("annotations")
    container(job)["env"] = []
    assert text in ("", "$") or text not in str(job)
    assert json.loads(annotations["hello-flask/run"])["model_parameters"] == values


def test_image_and_resources_come_from_the_entry():
    resources = (("cpu", "2"), ("gpu", "1"), ("memory", "4Gi"))
    program = Program("registry:5000/ours:1", ("python", "./x.py"), resources)
    job = render(replace(ATTEMPT, model="ours", size="large", program=program), SETTINGS)

    check(job)
    assert container(job)["image"] == "registry:5000/ours:1"
    assert "command" not in container(job)  # the image knows how to start its trainer
    assert container(job)["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "4Gi", "nvidia.com/gpu": "1"},
    }
    assert job["metadata"]["name"].startswith("ours-first-")


@pytest.mark.parametrize(("priority", "name"), [(None, "batch"), ("high", "urgent"), ("low", None)])
def test_priority_class_comes_from_the_entry(priority, name):
    program = Program(priority_classes=(("high", "urgent"), ("normal", "batch")))
    job = render(replace(ATTEMPT, priority=priority, program=program), SETTINGS)

    check(job)
    assert job["spec"]["template"]["spec"].get("priorityClassName") == name


def test_settings_fill_what_the_entry_leaves_open():
    program = Program("registry:5000/ours:1", (), (("gpu", "0"),))
    job = render(replace(ATTEMPT, program=program), replace(SETTINGS, job_gpu=2))

    assert container(job)["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1Gi"},
    }
