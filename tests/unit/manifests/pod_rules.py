"""The rules for pods beyond validity, and the exceptions stated in the manifests.

The rules are Pod Security level "restricted" (Kubernetes' documentation, Pod Security Standards:
baseline and restricted, v1.29, and the host field of probes from v1.34) and, of the checks of
kube-linter and checkov, those that can be judged by a manifest alone. An exception is a comment
`# exception RULE: why` between the first and the last line of its container or, for a rule on the
whole pod, anywhere else in the file.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
# "restricted" allows more kinds of volumes, sysctls and SELinux options; none is needed here.
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
WHOLE_POD = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")
FIRST_ID_OF_NO_HOST_USER = 10_000
EXCEPTION = re.compile(r"# exception ([\w.]+): \S+ \S+ \S+")
POD = "pod"


def pod_of(document: Document) -> Document | None:
    """Return the pod that a document is or creates, if any."""
    if document["kind"] == "Pod":
        return document
    template: Document | None = document.get("spec", {}).get("template")
    return template


def containers_of(pod: Document) -> Iterator[Document]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod["spec"].get(kind, [])


def restricted(pod: Document) -> list[str]:
    """Return what Pod Security level "restricted" rejects in a pod, container by container."""
    spec = pod["spec"]
    pod_context = spec.get("securityContext", {})
    broken = [f"pod: {key}" for key in WHOLE_POD if spec.get(key)]
    broken += ["pod: sysctls"] if "sysctls" in pod_context else []
    broken += [
        f"pod: volume.{volume['name']}"
        for volume in spec.get("volumes", [])
        if not set(volume) - {"name"} <= VOLUMES
    ]
    for container in containers_of(pod):
        broken += [
            f"{container['name']}: {rule}" for rule in _restricted_container(container, pod_context)
        ]
    return broken


def _restricted_container(container: Document, pod_context: Document) -> Iterator[str]:
    own = container.get("securityContext", {})
    effective = pod_context | own
    capabilities = own.get("capabilities", {})
    rules = {
        "privileged": bool(own.get("privileged")),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
        "runAsNonRoot": effective.get("runAsNonRoot") is not True,
        "runAsUser": effective.get("runAsUser") == 0,
        "seccompProfile": effective.get("seccompProfile", {}).get("type")
        not in ("RuntimeDefault", "Localhost"),
        "capabilities.drop": "ALL" not in capabilities.get("drop", []),
        "capabilities.add": not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "procMount": own.get("procMount", "Default") != "Default",
        "hostProcess": effective.get("windowsOptions", {}).get("hostProcess", False),
        "appArmorProfile": effective.get("appArmorProfile", {}).get("type") == "Unconfined",
        "seLinuxOptions": "seLinuxOptions" in effective,
        "hostPort": any(port.get("hostPort") for port in container.get("ports", [])),
        "probe.host": any(
            "host" in probe.get("httpGet", {}) or "host" in probe.get("tcpSocket", {})
            for name, probe in container.items()
            if name.endswith("Probe")
        ),
    }
    yield from (rule for rule, broken in rules.items() if broken)


def violations(pod: Document) -> list[str]:
    """Return all rules that a pod breaks, as "CONTAINER: RULE" or "pod: RULE"."""
    spec = pod["spec"]
    broken_rules = restricted(pod)
    rules = {
        "hostUser": _host_user(spec.get("securityContext", {})),
        "automountServiceAccountToken": spec.get("automountServiceAccountToken") is not False,
        "enableServiceLinks": spec.get("enableServiceLinks") is not False,
        **{
            f"sizeLimit.{volume['name']}": "sizeLimit" not in volume["emptyDir"]
            for volume in spec.get("volumes", [])
            if "emptyDir" in volume
        },
    }
    broken_rules += [f"pod: {rule}" for rule, broken in rules.items() if broken]
    for container in containers_of(pod):
        serves = container in spec["containers"] and spec.get("restartPolicy", "Always") == "Always"
        pod_context = spec.get("securityContext", {})
        broken_rules += [
            f"{container['name']}: {rule}"
            for rule in _further(container, pod_context, serves=serves)
        ]
    return broken_rules


def _further(container: Document, pod_context: Document, *, serves: bool) -> Iterator[str]:
    """Yield the rules beyond "restricted" that a container breaks; only servers need probes."""
    effective = pod_context | container.get("securityContext", {})
    resources = container.get("resources", {})
    _, _, tag = container["image"].rpartition("/")[2].partition(":")
    variables = container.get("env", [])
    rules = {
        "readOnlyRootFilesystem": effective.get("readOnlyRootFilesystem") is not True,
        **{
            f"{kind}.{resource}": resource not in resources.get(kind, {})
            for kind in ("requests", "limits")
            for resource in ("cpu", "memory")
        },
        **{
            probe: serves and probe not in container
            for probe in ("livenessProbe", "readinessProbe")
        },
        "image.tag": tag in ("", "latest"),
        "hostUser": _host_user(container.get("securityContext", {})),
        "env.secret": "envFrom" in container
        or any("secretKeyRef" in v.get("valueFrom", {}) for v in variables)
        or any(
            re.search("PASSWORD|TOKEN|SECRET", v["name"]) and not v["name"].endswith("_FILE")
            for v in variables
        ),
        "env.twice": len({v["name"] for v in variables}) < len(variables),
    }
    yield from (rule for rule, broken in rules.items() if broken)


def _host_user(context: Document) -> bool:
    """Return whether a user of the host may have the same number; root has its own rule."""
    return 0 < context.get("runAsUser", 0) < FIRST_ID_OF_NO_HOST_USER


def exceptions(file: Path) -> set[str]:
    """Return the exceptions that a manifest states, each as `violations` names it."""
    text = file.read_text()
    spans = {
        line: name
        for document in yaml.compose_all(text, yaml.SafeLoader)
        for name, first, last in _container_lines(document)
        for line in range(first, last)
    }
    return {
        f"{spans.get(number, POD)}: {match[1]}"
        for number, line in enumerate(text.splitlines())
        if (match := EXCEPTION.search(line))
    }


def _container_lines(node: yaml.Node) -> Iterator[tuple[str, int, int]]:
    """Yield the name, first line and line past the last of each container below a node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value in ("initContainers", "containers"):
                for container in value.value:
                    (name,) = [v.value for k, v in container.value if k.value == "name"]
                    yield name, container.start_mark.line, container.end_mark.line
            else:
                yield from _container_lines(value)
