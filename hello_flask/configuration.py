"""Where the server is and which token it is sent: arguments, environment variables, a file.

The file is `hello-flask/config.toml` in `$XDG_CONFIG_HOME` (`~/.config`), or what
`HELLO_FLASK_CONFIG` names. It holds `url = "..."` and `token = "..."`.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from hello_flask.errors import HelloFlaskError

DEFAULT_URL = "http://127.0.0.1:31112"
MAX_FILE_BYTES = 64 * 1024
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class ConfigurationError(HelloFlaskError):
    """The address, the token or the file of both cannot be used."""


class Configuration(NamedTuple):
    """The address of a server, without a slash at its end, and the token it is sent, if any."""

    url: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"<Configuration of {self.url}>"


def read(
    url: str | None = None,
    token: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Configuration:
    """Return the configuration: each value as given, or from the environment, or from the file.

    The token of the file is sent to no other server than that of the file.

    Raises:
        ConfigurationError: a value is not valid, or others may read the file.
    """
    url = url or environ.get("HELLO_FLASK_URL")
    token = token or environ.get("HELLO_FLASK_TOKEN")
    stored = {} if url and token else _read_file(environ)
    stored_url = _checked_url(stored.get("url") or DEFAULT_URL)
    chosen = _checked_url(url) if url else stored_url
    if token is None and chosen == stored_url:
        token = stored.get("token")
    return Configuration(chosen, _checked_token(token.strip()) if token else None)


def _checked_url(url: str) -> str:
    try:
        parts: SplitResult | None = urlsplit(url.strip())
        usable = parts and parts.scheme in ("http", "https") and parts.hostname
        _ = parts.port if parts else None
    except ValueError:
        parts, usable = None, None
    if not parts or not usable:
        raise ConfigurationError(
            f"{url!r} is not the address of a server: set HELLO_FLASK_URL to one such as "
            f"{DEFAULT_URL}."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            "The address of the server must not have a user, a password, ? or #: set a token as "
            "HELLO_FLASK_TOKEN."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _checked_token(token: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError(
            "The token has characters that no token has: set HELLO_FLASK_TOKEN to the token alone, "
            "without its name and quotes."
        )
    return token


def _read_file(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the file says; nothing if there is none."""
    named = environ.get("HELLO_FLASK_CONFIG")
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~") / ".config")
    path = Path(named) if named else home.expanduser() / "hello-flask" / "config.toml"
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            content = file.read(MAX_FILE_BYTES) if stat.S_ISREG(about.st_mode) else b""
    except FileNotFoundError:
        if named:
            raise ConfigurationError(f"HELLO_FLASK_CONFIG: there is no file {path}.") from None
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    if about.st_mode & OTHERS:
        raise ConfigurationError(
            f"{path} can be read by other users of this machine: chmod 600 {path}"
        )
    return _parsed(path, content)


def _parsed(path: Path, content: bytes) -> dict[str, str]:
    import tomllib

    try:
        values = tomllib.loads(content.decode())
    except ValueError as error:  # of UTF-8 or of TOML
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    for name, value in values.items():
        if name not in ("url", "token") or not isinstance(value, str):
            raise ConfigurationError(
                f'{path}: {name} is not known; it may hold url = "..." and token = "..." alone.'
            )
    return values
