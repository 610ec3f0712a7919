"""Identifies the cluster: by its certificate authority, and by the uid of kube-system."""

import hashlib
import json
import re
import ssl
from pathlib import Path

import urllib3
from kubernetes.client.exceptions import ApiException

from backend.launchers.kubernetes.api import KubernetesApi

SYSTEM_NAMESPACE = "/api/v1/namespaces/kube-system"  # it exists once, as long as the cluster
TIMEOUT = (2.0, 2.0)  # seconds to connect and to answer
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def cluster_marks() -> frozenset[str]:
    """Return what identifies the cluster; see `Owner.marks`.

    One mark for each certificate authority that the cluster's address is trusted by, and one for
    the uid of kube-system if this server may read it. Without any, the address of the API server.

    Raises:
        SettingsError: KUBECONFIG names no usable cluster.
    """
    api = KubernetesApi("kube-system")
    try:
        marks = _authorities(api.authority_file) | _uid(api)
        return marks or frozenset({f"server:{api.address}"})
    finally:
        api.close()


def _authorities(file: str | None) -> frozenset[str]:
    try:
        text = Path(file).read_text(encoding="ascii") if file else ""
        certificates = map(ssl.PEM_cert_to_DER_cert, _CERTIFICATE.findall(text))
        return frozenset(f"ca:{hashlib.sha256(each).hexdigest()}" for each in certificates)
    except (OSError, ValueError):
        return frozenset()


def _uid(api: KubernetesApi) -> frozenset[str]:
    try:
        answer = api.request("GET", SYSTEM_NAMESPACE, timeout=TIMEOUT)
        uid = json.loads(answer.data)["metadata"]["uid"]
    except (ApiException, urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
        return frozenset()  # no right to read it, or the API server does not answer
    return frozenset({f"uid:{uid}"})
