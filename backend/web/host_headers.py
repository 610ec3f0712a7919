"""Host and Origin headers: whom a browser believes to ask, and which page asks. Pure functions.

Rules from RFC 9110 (7.2, Host), RFC 6454 (Origin) and Fetch Metadata (Sec-Fetch-Site). What counts
as another origin is decided as by Go's net/http.CrossOriginProtection.
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# Names that no public DNS server can answer for: RFC 6761, and a cluster's services.
_LOCAL_SUFFIXES = (".localhost", ".svc", ".svc.cluster.local")


@lru_cache(maxsize=256)
def host_name(header: str) -> str | None:
    """Give the name or address of a Host header, in lower case and without a port.

    Returns:
        None if it is none.
    """
    match = _HOST.fullmatch(header)
    return match[1].lower().removesuffix(".") or None if match else None


@lru_cache(maxsize=256)
def is_allowed(name: str, allowed: frozenset[str]) -> bool:
    """Tell whether a server is called so: no name that a stranger's DNS could lead to it.

    IP addresses, names without a dot and a cluster's service names always are. `allowed` holds
    further names; `.example.com` stands for every name below example.com.
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


def is_foreign(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Tell whether a page of another origin makes a browser send a request to `host`.

    What is no browser sends neither header, and is not foreign.

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
    if port is None:  # "null" too
        return True
    return parts.netloc.lower().removesuffix(port) != host.lower().removesuffix(port)
