"""Where this server stands in the address that a client uses, if a proxy is in between.

A proxy either removes the path prefix and names it in X-Forwarded-Prefix, or leaves it, and
SCRIPT_NAME names it. Either way it becomes SCRIPT_NAME of the request (PEP 3333), from which Flask
and `address` build every address. X-Forwarded-Proto says whether the client used https. Headers are
believed of the proxies in TRUSTED_PROXIES alone.
"""

import ipaddress
from typing import TYPE_CHECKING

from flask import request

from backend.addresses import is_path_prefix

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PREFIX, SCHEME = "HTTP_X_FORWARDED_PREFIX", "HTTP_X_FORWARDED_PROTO"


class Mount:
    """Finds the path prefix and the scheme of each request."""

    def __init__(self, trusted_proxies: tuple[str, ...], script_name: str) -> None:
        """Believe the headers of these proxies, and remove `script_name` from paths that have it.

        Args:
            trusted_proxies: addresses and networks.
            script_name: the prefix that proxies leave in the path; empty if none does.
        """
        self._trusted = [ipaddress.ip_network(network) for network in trusted_proxies]
        self._script_name = script_name

    def apply(self, environ: "WSGIEnvironment") -> None:
        """Set the scheme of a request, and move the prefix of its path to SCRIPT_NAME.

        A path without the prefix stays as it is: health checks and clients inside the cluster do
        not use the proxy.
        """
        sent, scheme = environ.get(PREFIX, ""), environ.get(SCHEME)
        if (sent or scheme) and self._trusts(environ):
            if scheme == "https":
                environ["wsgi.url_scheme"] = scheme
            if is_path_prefix(sent):
                environ["SCRIPT_NAME"] = sent.rstrip("/")
        prefix, path = self._script_name, environ.get("PATH_INFO", "")
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
            environ["PATH_INFO"] = path[len(prefix) :] or "/"

    def _trusts(self, environ: "WSGIEnvironment") -> bool:
        try:
            client = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
        except ValueError:
            return False
        if client.version == 6 and client.ipv4_mapped:  # of a socket that accepts both families
            client = client.ipv4_mapped
        return any(client in network for network in self._trusted)


def address(path: str) -> str:
    """Return the address of a path of ours, as the client of the current request has to write it.

    Args:
        path: begins with a slash, and is quoted.
    """
    return f"{request.script_root}{path}"
