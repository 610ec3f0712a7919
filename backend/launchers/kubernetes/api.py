"""Sends requests to the Kubernetes API through the official client.

Of the client only the generic part is used: addresses, certificates, tokens and their renewal. Its
classes for the API groups cost each process 25 MB and a second of CPU time.
"""

from collections.abc import Mapping
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from backend.settings import SERVICE_ACCOUNT, SettingsError

# Paths, as in the Kubernetes API reference.
JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
JOB = f"{JOBS}/{{name}}"
PODS = "/api/v1/namespaces/{namespace}/pods"
POD = f"{PODS}/{{name}}"
POD_LOG = f"{POD}/log"
EVENTS = "/api/v1/namespaces/{namespace}/events"
NODES = "/api/v1/nodes"
NODE = f"{NODES}/{{name}}"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
LEASE = f"{LEASES}/{{name}}"
POD_METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
SERVICE_OBJECT = "/api/v1/namespaces/{namespace}/services/{name}"
CLAIM = "/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
VOLUME = "/api/v1/persistentvolumes/{name}"

# Connections that a process keeps open: more than it has threads, because a call without one has to
# make a TLS handshake. The default of the client is five per core.
CONNECTIONS = 64


class KubernetesApi:
    """The API server, for the objects of one namespace. Safe to use from several threads."""

    def __init__(self, namespace: str) -> None:
        """Connect to the cluster of this pod, or outside of a pod to the one of KUBECONFIG.

        Raises:
            SettingsError: KUBECONFIG names no usable cluster.
        """
        self._namespace = namespace
        self._client = client.ApiClient(_configuration())

    def request(
        self,
        method: str,
        path: str,
        name: str = "",
        *,
        timeout: tuple[float, float],
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request to one of the paths above, for the object `name`.

        Returns:
            The response; its body has not been read yet.

        Raises:
            ApiException: the server answered with an error.
            urllib3.exceptions.HTTPError: the server did not answer within `timeout` (seconds to
                connect, seconds between two pieces of the answer).
        """
        headers = {"Accept": "*/*" if path == POD_LOG else "application/json"}
        headers |= {"Content-Type": "application/json"} if body else {}
        # Without the body, which is plain JSON already and would be copied value by value.
        method, url, headers, *_ = self._client.param_serialize(
            method=method,
            resource_path=path,
            path_params={"namespace": self._namespace, "name": name},
            query_params=list((query or {}).items()),
            header_params=headers,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(method, url, headers, body, _request_timeout=timeout)
        if not 200 <= answer.status <= 299:
            answer.read()
            ApiException.from_response(http_resp=answer, body=None, data=None)  # raises
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    @property
    def authority_file(self) -> str | None:
        """The file of the certificates that the API server is trusted by, if it has any."""
        file: str | None = self._client.configuration.ssl_ca_cert
        return file

    @property
    def address(self) -> str:
        """The URL of the API server."""
        return str(self._client.configuration.host)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _configuration() -> client.Configuration:
    configuration = client.Configuration()
    if SERVICE_ACCOUNT.is_dir():
        config.load_incluster_config(client_configuration=configuration)
    else:
        try:
            config.load_kube_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise SettingsError([f"KUBECONFIG names no usable cluster: {error}"]) from error
    # Not retried by the client: after a create that timed out, the Job is looked up first.
    configuration.retries = False
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration
