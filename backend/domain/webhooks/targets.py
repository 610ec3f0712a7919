"""Whom to notify of which changes of status, and where notices may be sent. Pure."""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from backend.domain.status import Status

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ENDS = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
MAX_TARGETS = 10  # each has a thread
SLACK = "slack"

# IPv6 addresses that lead to an IPv4 address through a translator (RFC 6052).
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


class InvalidWebhook(Exception):
    """A line of WEBHOOK_URL cannot be used; the message says why, and does not repeat the URL."""


@dataclass(frozen=True)
class Target:
    """Who is notified.

    Attributes:
        url: the address, which may hold a secret.
        kinds: the statuses whose beginning is sent.
        is_slack: whether the body is a message as Slack takes it.
    """

    url: str = field(repr=False)
    kinds: frozenset[str] = ENDS
    is_slack: bool = False

    @property
    def key(self) -> str:
        """What names it in the database: the URL itself may be a secret."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:32]

    @property
    def name(self) -> str:
        """What names it in the log."""
        return urlsplit(self.url).hostname or ""

    @classmethod
    def parse(cls, line: str) -> "Target":
        """Return the target of a line: a URL, then perhaps `slack` and statuses with commas.

        Raises:
            InvalidWebhook: it cannot be read.
        """
        url, *words = line.split()
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not url.isascii() or not url.isprintable() or "@" in parts.netloc:
            raise InvalidWebhook("must begin with a URL such as https://chat.example/hooks/1")
        kinds = {kind for word in words if word != SLACK for kind in word.split(",")}
        if unknown := sorted(kinds - set(Status)):
            raise InvalidWebhook(
                f"has the unknown word {unknown[0][:40]!r} after its URL: send slack, or some of "
                f"{','.join(Status)}"
            )
        return cls(url, frozenset(kinds) or ENDS, SLACK in words)


def parse_targets(text: str) -> tuple[tuple[Target, ...], list[str]]:
    """Return the targets of WEBHOOK_URL, one in each line, and what is wrong with it."""
    targets, problems = [], []
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        try:
            targets.append(Target.parse(line))
        except InvalidWebhook as error:
            problems.append(f"WEBHOOK_URL, line {number}, {error}.")
    if len(targets) > MAX_TARGETS:
        problems.append(f"WEBHOOK_URL must have at most {MAX_TARGETS} lines, not {len(targets)}.")
    if len({target.url for target in targets}) < len(targets):
        problems.append("WEBHOOK_URL names an address twice: name it once, with all its statuses.")
    return tuple(targets), problems


@dataclass(frozen=True)
class Allowed:
    """Where webhooks may be sent to.

    Attributes:
        hosts: names; with a leading dot, every name below it.
        networks: addresses.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str]) -> "Allowed":
        """Return the list of names, addresses and networks (10.1.0.0/16)."""
        hosts, networks = set(), []
        for word in words:
            try:
                networks.append(ipaddress.ip_network(word, strict=False))
            except ValueError:
                hosts.add(word.lower())
        return cls(frozenset(hosts), tuple(networks))

    def allows(self, host: str, address: Address) -> bool:
        """Return whether a request for `host` may be sent to this address of it.

        Without a list, that is every public address: a name may lead to a service of the cluster,
        or to the metadata of a cloud (169.254.169.254).
        """
        address = _inner(address)
        if not (self.hosts or self.networks):
            return address.is_global and not address.is_multicast
        names = [host, *(host[place:] for place, sign in enumerate(host) if sign == ".")]
        return not self.hosts.isdisjoint(names) or any(
            address in network for network in self.networks
        )


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
