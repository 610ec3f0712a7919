"""Addresses as text: of sockets, hosts, networks, and the path that a server is mounted at."""

import ipaddress
import re
import socket

MAX_PREFIX_CHARACTERS = 200
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+/?", re.ASCII)


def socket_address(address: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the family of a socket that can listen at HOST:PORT, and what to bind it to.

    The host of an IPv6 address stands in brackets.

    Raises:
        OSError: the name of the host does not resolve.
    """
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # A name may have addresses of both families: IPv4 is what it has always meant here.
    family, *_, target = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(target[0]), int(target[1]))


def is_host(text: str) -> bool:
    """Return whether `text` is a host name, an IPv4 address or an IPv6 address in brackets."""
    if text.startswith("[") and text.endswith("]"):
        return is_ipv6(text[1:-1])
    return bool(text) and not any(one in ":/@[]" or one.isspace() for one in text)


def is_ipv6(text: str) -> bool:
    """Return whether `text` is an IPv6 address, without brackets."""
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def is_network(text: str) -> bool:
    """Return whether `text` is an IP address, or a network such as 10.42.0.0/16."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def is_path_prefix(text: str) -> bool:
    """Return whether `text` is a path that can stand before every path of a server.

    It needs no quoting, in a header or in HTML, and never leads to another host or upwards.
    """
    return len(text) <= MAX_PREFIX_CHARACTERS and _PREFIX.fullmatch(text) is not None
