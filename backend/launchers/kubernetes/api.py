"""The few calls of the Kubernetes API that we need, through the official client.

The client knows the way there: addresses, certificates, tokens and their renewal. Its classes for
the API's groups are left out: they hold every call that there is, and cost each process 25 MB and a
second of processor time.
"""

from collections.abc import Mapping
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from backend.settings import SERVICE_ACCOUNT, SettingsError

# Paths of the Kubernetes API reference.
JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
JOB = f"{JOBS}/{{name}}"
PODS = "/api/v1/namespaces/{namespace}/pods"
POD = f"{PODS}/{{name}}"
POD_LOG = f"{POD}/log"
EVENTS = "/api/v1/namespaces/{namespace}/events"
NODE = "/api/v1/nodes/{name}"

# Kept open by a process, more than it has threads: one that is not kept costs the next call a
# handshake. The client would keep five for each core.
CONNECTIONS = 64


class KubernetesApi:
    """The API server, for the objects of one namespace. Every thread may use it."""

    def __init__(self, namespace: str) -> None:
        """Use the cluster of the pod that this is, or else the one that KUBECONFIG names.

        Raises:
            SettingsError: it names none.
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
            The answer, whose body is still to be read.

        Raises:
            ApiException: the server answers with an error.
            urllib3.exceptions.HTTPError: it does not answer, within `timeout` (seconds to connect,
                seconds of silence).
        """
        headers = {"Accept": "*/*" if path == POD_LOG else "application/json"}
        headers |= {"Content-Type": "application/json"} if body else {}
        # The body stays out of it: it is plain JSON, of which a copy would be made value by value.
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
            ApiException.from_response(http_resp=answer, body=None, data=None)  # raises it
        response: urllib3.BaseHTTPResponse = answer.response
        return response

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
    # A create that timed out is resolved by looking, not by sending it again unseen.
    configuration.retries = False
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration
