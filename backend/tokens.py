"""API tokens: how they are written down, who holds one, and a file of them that may change.

One token a line; blank lines and lines that begin with `#` are passed over:

    line = ["ro:"] [name ":"] token

`ro:` makes a token read-only. A name (1 to 64 of `A-Z a-z 0-9 . _ -`, not `ro`) stands in the
history of what its holder changes. A token is visible ASCII without `:`. Whoever changes tokens may
keep an old one beside the new one under the same name for a while.
"""

import hashlib
import hmac
import logging
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 64 * 1024  # of a file of tokens
SETTLED_SECONDS = 2.0  # a file changed later than this may change again within one tick of its time
NAMELESS = "token"  # stands in the history for a token without a name

_LINE = re.compile(
    r"(?P<ro>ro:)?(?:(?P<name>(?!ro:)[A-Za-z0-9._-]{1,64}):)?(?P<token>[!-9;-~]+)", re.ASCII
)

log = logging.getLogger(__name__)


class TokensError(Exception):
    """There are no tokens that can be used; the message says why, and never holds a token."""


@dataclass(frozen=True)
class Token:
    """One token; the token itself is not kept.

    Attributes:
        name: stands in the history.
        read_only: it changes nothing.
        digest: SHA-256 of the token, 32 bytes.
    """

    name: str
    read_only: bool
    digest: bytes = field(repr=False)


def parse(text: str) -> tuple[Token, ...]:
    """Read tokens, one a line.

    Raises:
        TokensError: a line is none, a token is there twice, or there is none at all.
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
            raise TokensError(f"line {number} holds a token that an earlier line holds too")
        found[digest] = Token(match["name"] or NAMELESS, bool(match["ro"]), digest)
    if not found:
        raise TokensError("it holds no token")
    return tuple(found.values())


def digest_of(token: str) -> bytes:
    """Give what is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def find(tokens: tuple[Token, ...], presented: str) -> Token | None:
    """Find the token that was presented; how long it takes tells nothing of it."""
    digest, found = digest_of(presented), None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


class TokenFile:
    """A file of tokens, read again whenever it is replaced or changed, as kubelet does to a Secret.

    Every thread may use it.
    """

    def __init__(self, path: Path) -> None:
        """Read `path` at the first question."""
        self._path = path
        self._known: tuple[tuple[int, ...] | None, tuple[Token, ...]] = (None, ())
        self._complaint = ""

    def current(self) -> tuple[Token, ...]:
        """Give the tokens that hold now.

        Raises:
            TokensError: the file cannot be read, or holds none: then nobody has a token.
        """
        try:
            there = self._path.stat()
            signature = (there.st_dev, there.st_ino, there.st_mtime_ns, there.st_size)
            seen, tokens = self._known
            if signature != seen:
                tokens = self._read()
                settled = time.time() - there.st_mtime > SETTLED_SECONDS
                self._known = (signature if settled else None, tokens)
                self._complaint = ""
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
        complaint = f"API_TOKEN_FILE cannot be used: {os.fspath(self._path)}: {reason}"
        if complaint != self._complaint:  # once, not at every request
            log.error("%s. Nobody is let in.", complaint)
            self._complaint = complaint
        return TokensError(complaint)
