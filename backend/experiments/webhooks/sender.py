"""Sends one notice to one address: bounded in time, without redirects, to allowed addresses."""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

from backend import __version__
from backend.domain.webhooks.notice import Notice, signature
from backend.domain.webhooks.targets import Allowed, Target

MAX_ADDRESSES = 3  # of a host, that are tried
SECONDS = 10.0  # to connect to an address, and from then on to the end of the answer's headers


class NotDelivered(Exception):
    """The notice was not delivered; the message says why, and does not repeat the URL."""


class Sender:
    """Sends notices, signed if there is a secret."""

    def __init__(self, allowed: Allowed, secret: str = "", seconds: float = SECONDS) -> None:
        self._allowed, self._secret, self._seconds = allowed, secret, seconds

    def send(self, target: Target, notice: Notice) -> None:
        """Send a notice, and return once its receiver has answered with a status of success.

        Of the answer nothing but its status and headers is read, whatever length it claims.

        Raises:
            NotDelivered: there was another answer, or none.
        """
        body = notice.body(target)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"hello-flask/{__version__}",
            "X-Hello-Flask-Event": notice.id,
        }
        if self._secret:
            headers["X-Hello-Flask-Signature"] = signature(self._secret, body)
        try:
            status = self._status(target.url, body, headers)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise NotDelivered(_reason(error)) from error
        if 300 <= status < 400:
            raise NotDelivered(f"HTTP status {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise NotDelivered(f"HTTP status {status}")

    def _status(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        parts = urlsplit(url)
        host, is_secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_secure else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPConnection(host, port)
        sock = connection.sock = self._connected(host, port)
        with closing(connection), self._watched(connection):
            if is_secure:
                context = ssl.create_default_context()
                secured = context.wrap_socket(
                    sock, server_hostname=host, do_handshake_on_connect=False
                )
                connection.sock = secured
                secured.do_handshake()
            connection.request("POST", path, body, headers | {"Host": parts.netloc})
            return connection.getresponse().status

    @contextmanager
    def _watched(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """Break a connection off if the `with` block takes too long.

        A receiver that sends a byte now and then would never meet the timeout of a socket.
        """
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            with suppress(OSError, AttributeError):  # it may be closed already
                connection.sock.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(self._seconds, expire)
        watch.daemon = True
        watch.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if not expired.is_set():
                raise
        finally:
            watch.cancel()
        if expired.is_set():  # headers that were cut off look like headers that have ended
            raise TimeoutError

    def _connected(self, host: str, port: int) -> socket.socket:
        """Return a connection to an address of a host that webhooks may be sent to.

        The address is looked up once, so that the one that was checked is the one that is used.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        allowed = [
            address
            for address in addresses
            if self._allowed.allows(host, ipaddress.ip_address(address.partition("%")[0]))
        ]
        if not allowed:
            raise NotDelivered(
                f"{host} is {addresses[0]}, to which webhooks may not be sent: see WEBHOOK_ALLOWED"
            )
        *others, last = allowed[:MAX_ADDRESSES]
        for address in others:
            with suppress(OSError):
                return socket.create_connection((address, port), self._seconds)
        return socket.create_connection((last, port), self._seconds)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no answer that is HTTP ({type(error).__name__})"
