"""API tokens: their notation, and a file of them that may change at any time.

One token per line; blank lines and lines that begin with `#` are ignored:

    line = ["ro:"] [name ":"] token

`ro:` makes a token read-only. The name (1 to 64 of `A-Z a-z 0-9 . _ -`, but not `ro`) appears in
the history of everything that is changed with the token. A token is visible ASCII without `:`.
Several tokens may have the same name, so that an old one remains valid while clients move to a new
one.
"""

import hashlib
import hmac
import logging
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 64 * 1024  # size of a file of tokens
# A file modified more recently may change again without a change of its modification time.
SETTLED_SECONDS = 2.0
NAMELESS = "token"  # the name in the history of a token without one

_LINE = re.compile(
    r"(?P<ro>ro:)?(?:(?P<name>(?!ro:)[A-Za-z0-9._-]{1,64}):)?(?P<token>[!-9;-~]+)", re.ASCII
)

log = logging.getLogger(__name__)


class TokensError(Exception):
    """There are no valid tokens; the message says why, and never contains a token."""


@dataclass(frozen=True)
class Token:
    """One token, without its text.

    Attributes:
        name: appears in the history.
        read_only: permits no change.
        digest: SHA-256 of the text, 32 bytes.
    """

    name: str
    read_only: bool
    digest: bytes = field(repr=False)


def parse(text: str) -> tuple[Token, ...]:
    """Return the tokens in `text`, one per line.

    Raises:
        TokensError: a line is invalid, a token occurs twice, or there is no token.
    """
    found: dict[bytes, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise TokensError(f"line {number} is not [ro:][name:]token in visible ASCII")
        digest = digest_of(match["token"])
        if digest in found:
            raise TokensError(f"line {number} repeats the token of an earlier line")
        found[digest] = Token(match["name"] or NAMELESS, bool(match["ro"]), digest)
    if not found:
        raise TokensError("it contains no token")
    return tuple(found.values())


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a token's text."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def find(tokens: tuple[Token, ...], presented: str) -> Token | None:
    """Return the token whose text is `presented`, or None, in time independent of the text."""
    digest, found = digest_of(presented), None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


class TokenFile:
    """A file of tokens, read again after it was changed, or replaced as kubelet does with a Secret.

    It is thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Read `path` at the first call of `current`."""
        self._path = path
        self._known: tuple[tuple[int, ...] | None, tuple[Token, ...]] = (None, ())
        self._logged = ""

    def current(self) -> tuple[Token, ...]:
        """Return the tokens that are valid now.

        Raises:
            TokensError: the file cannot be read or has no valid tokens, so nobody has access.
        """
        try:
            stat = self._path.stat()
            signature = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
            seen, tokens = self._known
            if signature != seen:
                tokens = self._read()
                is_settled = time.time() - stat.st_mtime > SETTLED_SECONDS
                self._known = (signature if is_settled else None, tokens)
                self._logged = ""
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from error
        except TokensError as error:
            raise self._failed(str(error)) from error
        return tokens

    def _read(self) -> tuple[Token, ...]:
        with self._path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise TokensError(f"it is larger than {MAX_BYTES // 1024} KiB")
        try:
            return parse(content.decode())
        except UnicodeDecodeError as error:
            raise TokensError("it is not UTF-8 text") from error

    def _failed(self, reason: str) -> TokensError:
        self._known = (None, ())
        message = f"API_TOKEN_FILE cannot be used: {os.fspath(self._path)}: {reason}"
        if message != self._logged:  # once, not at every request
            log.error("%s. Nobody is let in.", message)
            self._logged = message
        return TokensError(message)
