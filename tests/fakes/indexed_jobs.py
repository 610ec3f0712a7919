"""What a Job controller does for Indexed Jobs, in a fake cluster.

Sources: the Kubernetes documentation, Jobs (Completion mode, Pod backoff failure policy) and Job
with Pod-to-Pod Communication.
"""

INDEX = "batch.kubernetes.io/job-completion-index"
LONGEST_HOST_NAME = 63


def is_indexed(job):
    """Return whether a Job is an Indexed Job."""
    return job["spec"].get("completionMode") == "Indexed"


def check_indexed(body):
    """Check what the API server refuses beyond the schema; `body` is a new Job."""
    spec, name = body["spec"], body["metadata"]["name"]
    if not is_indexed(body):
        return
    assert spec.get("completions") is not None, "spec.completions: Required value: when indexed"
    assert spec.get("parallelism", 1) <= 10**5, "spec.parallelism: too large"
    host_name = f"{name}-{spec['completions'] - 1}"
    assert len(host_name) <= LONGEST_HOST_NAME, (
        f"metadata.name: {name!r}: will not be able to create pod with invalid DNS label: "
        f"{host_name!r}"
    )


def as_before_indexed_jobs(job):
    """Return a new Job as an API server stores it that does not know the field: without it."""
    spec = {name: value for name, value in job["spec"].items() if name != "completionMode"}
    return job | {"spec": spec}


def pod_of_index(job, template, index):
    """Return the metadata and the spec of the pod of an index, from the template of its Job."""
    metadata, spec = template["metadata"], template["spec"]
    labels = metadata.get("labels", {}) | {INDEX: str(index)}  # the label since 1.28
    annotations = metadata.get("annotations", {}) | {INDEX: str(index)}
    rank = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": rank}
    containers = [one | {"env": [*one.get("env", []), variable]} for one in spec["containers"]]
    host_name = f"{job['metadata']['name']}-{index}"
    return (
        metadata | {"labels": labels, "annotations": annotations},
        spec | {"hostname": host_name, "containers": containers},
    )


def environment_of(pod):
    """Return the variables of a pod's trainer as the kubelet sets them."""
    variables = {}
    for variable in pod["spec"]["containers"][0]["env"]:
        source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        value = variable.get("value")
        if source:
            prefix, _, name = source.partition("['")
            assert prefix == "metadata.annotations"
            value = pod["metadata"]["annotations"].get(name.removesuffix("']"), "")
        variables[variable["name"]] = value
    return variables
