"""Which Host header names this server answers to, and which requests other sites send. Pure.

Rules from RFC 9110 (7.2, Host), RFC 6454 (Origin) and Fetch Metadata (Sec-Fetch-Site). What counts
as another origin is decided as by Go's net/http.CrossOriginProtection.
"""

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# Names that no public DNS server can answer for: RFC 6761, and a cluster's services.
_LOCAL_SUFFIXES = (".localhost", ".svc", ".svc.cluster.local")


def host_name(header: str) -> str | None:
    """Return the host name or IP address of a Host header, in lower case and without a port.

    Returns:
        None if the header is not valid.
    """
    match = _HOST.fullmatch(header)
    return match[1].lower().removesuffix(".") or None if match else None


def is_allowed(name: str, allowed: frozenset[str]) -> bool:
    """Return whether the server answers to `name`: an attacker's DNS must not be able to own it.

    IP addresses, names without a dot and a cluster's service names are always allowed. `allowed`
    holds further names; `.example.com` stands for every name below example.com.
    """
    if "." not in name.strip("[]") or name.endswith(_LOCAL_SUFFIXES) or name in allowed:
        return True
    if any(one.startswith(".") and name.endswith(one) for one in allowed):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def is_cross_origin(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Return whether a page of another origin made a browser send this request to `host`.

    Clients other than browsers send neither header: their requests are not cross-origin.

    Args:
        host: the Host header.
        origin: the Origin header.
        fetch_site: the Sec-Fetch-Site header.
    """
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return True
    port = _DEFAULT_PORTS.get(parts.scheme)
    if port is None:  # also for the origin "null"
        return True
    return parts.netloc.lower().removesuffix(port) != host.lower().removesuffix(port)
