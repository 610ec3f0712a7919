"""The settings, read from environment variables; all invalid ones are reported together."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from backend import __version__
from backend.addresses import is_host, is_ipv6, is_network, is_path_prefix
from backend.domain.execution.queue import LABEL_NAME
from backend.domain.execution.resources import QUANTITY
from backend.domain.webhooks.targets import Allowed, Target, parse_targets
from backend.tokens import TokenFile, TokensError, parse

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
HOST_NAME = re.compile(
    r"\.?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?"
)  # with a leading dot: every name below it

MEMORY = re.compile(r"([0-9]{1,18})((?:[kMGT]i?)?)")
LEAST_MEMORY = 64 * 2**20  # in which an interpreter starts
MEMORY_UNITS = {"": 1} | {
    unit + suffix: base**power
    for power, unit in enumerate("kMGT", start=1)
    for suffix, base in (("", 1000), ("i", 1024))
}
DIGITS = re.compile(r"[0-9]{1,20}")

LauncherName = Literal["kubernetes", "local"]


class SettingsError(Exception):
    """Environment variables are missing or invalid.

    Attributes:
        problems: one sentence for each variable that is missing or invalid.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Settings:
    """The values of the environment variables, which docs/settings.md explains."""

    database_url: URL
    data_dir: Path
    input_dir: Path
    input_max_bytes: int
    output_dir: Path
    models_dir: Path | None
    bind: str
    health_bind: str
    allowed_hosts: frozenset[str]
    trusted_proxies: tuple[str, ...]
    script_name: str
    api_token: str = field(repr=False)
    api_token_file: Path | None
    launcher: LauncherName
    local_slots: int | None
    local_memory: int | None
    webhooks: tuple[Target, ...]
    webhook_secret: str = field(repr=False)
    webhook_allowed: Allowed
    log_max_bytes: int
    max_streams: int
    model_image: str
    input_pvc: str
    output_pvc: str
    job_namespace: str
    job_cpu: str
    job_memory: str
    job_gpu: int
    job_ttl_seconds: int
    job_deadline_seconds: int
    job_backoff_limit: int
    job_queue: str
    reconcile_lease: str
    in_pod: bool

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Return the settings that the environment variables describe.

        Raises:
            SettingsError: variables are missing or invalid; it names all of them.
        """
        settings, _ = read(environ)
        return settings

    @property
    def dashboard_url(self) -> str:
        """The address of the dashboard, for a browser on this machine."""
        host, _, port = self.bind.rpartition(":")
        return f"http://{'localhost' if host in ('0.0.0.0', '[::]') else host}:{port}/ui"  # noqa: S104

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the SQLite database, or None if a database server is used."""
        if self.database_url.get_backend_name() != "sqlite":
            return None
        return Path(self.database_url.database or "")


def read(environ: Mapping[str, str]) -> tuple[Settings, frozenset[str]]:
    """Return the settings, and the names of all variables that were read.

    Raises:
        SettingsError: variables are missing or invalid; it names all of them.
    """
    env = _Environment(environ)
    in_pod = "KUBERNETES_SERVICE_HOST" in environ and SERVICE_ACCOUNT.is_dir()
    data_dir = env.path("DATA_DIR", "data")
    launcher = _launcher(env, in_pod)
    api_token, api_token_file = _api_tokens(env)
    webhooks, problems = parse_targets(env.secret("WEBHOOK_URL"))
    env.problems += problems
    settings = Settings(
        database_url=_database_url(env, data_dir),
        data_dir=data_dir,
        input_dir=env.path("INPUT_DIR", "/input" if in_pod else "input"),
        input_max_bytes=env.integer("INPUT_MAX_BYTES", 2**30, lowest=1, highest=2**50),
        output_dir=env.path("OUTPUT_DIR", "/output" if in_pod else "output"),
        models_dir=env.optional_path("MODELS_DIR"),
        bind=env.address("BIND", "127.0.0.1:31112"),
        health_bind=env.address("HEALTH_BIND", ""),
        allowed_hosts=env.hosts("ALLOWED_HOSTS"),
        trusted_proxies=env.networks("TRUSTED_PROXIES", "127.0.0.1,::1"),
        script_name=env.path_prefix("SCRIPT_NAME"),
        api_token=api_token,
        api_token_file=api_token_file,
        launcher=launcher,
        local_slots=env.integer("LOCAL_SLOTS", 0, lowest=1, highest=1024) or None,
        local_memory=env.memory("LOCAL_MEMORY"),
        webhooks=webhooks,
        webhook_secret=env.secret("WEBHOOK_SECRET").strip(),
        webhook_allowed=Allowed.parse(env.text("WEBHOOK_ALLOWED").replace(",", " ").split()),
        log_max_bytes=env.integer("LOG_MAX_BYTES", 10_000_000, lowest=1000, highest=2**40),
        max_streams=env.integer("MAX_STREAMS", 16, lowest=1, highest=1000),
        model_image=_model_image(env, launcher),
        input_pvc=env.name("INPUT_PVC", "hello-flask-input"),
        output_pvc=env.name("OUTPUT_PVC", "hello-flask-output"),
        job_namespace=env.name("JOB_NAMESPACE", _pod_namespace() if in_pod else "default"),
        job_cpu=env.quantity("JOB_CPU", "500m"),
        job_memory=env.quantity("JOB_MEMORY", "1Gi"),
        job_gpu=env.integer("JOB_GPU", 0, lowest=0, highest=1024),
        job_ttl_seconds=env.integer("JOB_TTL_SECONDS", 7 * 24 * 3600, lowest=60, highest=2**31 - 1),
        job_deadline_seconds=env.integer("JOB_DEADLINE_SECONDS", 0, lowest=0, highest=2**31 - 1),
        job_backoff_limit=env.integer("JOB_BACKOFF_LIMIT", 3, lowest=0, highest=100),
        job_queue=env.queue("JOB_QUEUE"),
        reconcile_lease=env.name("RECONCILE_LEASE", ""),
        in_pod=in_pod,
    )
    if env.problems:
        raise SettingsError(env.problems)
    return settings, frozenset(env.names)


class _Environment:
    """Reads variables of several types and collects the problems found in them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []
        self.names: set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        self.names.add(name)
        return self._environ.get(name, "").strip() or default

    def raw(self, name: str) -> str:
        self.names.add(name)
        return self._environ.get(name, "")

    def secret(self, name: str) -> str:
        """Return the secret in NAME, or in the file that NAME_FILE names."""
        value, file = self.raw(name), self.text(f"{name}_FILE")
        if not file:
            return value
        if value:
            self.problems.append(f"{name} and {name}_FILE are both set: keep one of them.")
        try:
            return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.problems.append(f"{name}_FILE cannot be read: {file}: {reason}.")
            return value

    def path(self, name: str, default: str) -> Path:
        return Path(self.text(name, default)).absolute()

    def optional_path(self, name: str) -> Path | None:
        text = self.text(name)
        return Path(text).absolute() if text else None

    def integer(self, name: str, default: int, *, lowest: int, highest: int) -> int:
        text = self.text(name)
        if not text:
            return default
        if DIGITS.fullmatch(text) and lowest <= int(text) <= highest:
            return int(text)
        self.problems.append(
            f"{name} must be a whole number from {lowest} to {highest}, not {text!r}."
        )
        return default

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        text = self.text(name, choices[0])
        if text not in choices:
            self.problems.append(f"{name} must be one of {', '.join(choices)}, not {text!r}.")
        return text

    def matching(self, name: str, default: str, fits: Callable[[str], object], what: str) -> str:
        text = self.text(name, default)
        if text and not fits(text):
            self.problems.append(f"{name} must be {what}, not {text!r}.")
        return text

    def quantity(self, name: str, default: str) -> str:
        what = "a Kubernetes quantity such as 500m, 2 or 1Gi"
        return self.matching(name, default, QUANTITY.fullmatch, what)

    def memory(self, name: str) -> int | None:
        """Return an amount of memory in bytes, 0 for no limit, None if the variable is not set."""
        text = self.text(name)
        found = MEMORY.fullmatch(text)
        size: int = int(found[1]) * MEMORY_UNITS[found[2]] if found else -1
        if size == 0 or LEAST_MEMORY <= size < 2**60:
            return size
        if text and text.lower() != "none":
            what = "an amount of memory from 64Mi on, such as 2Gi or 1500M, or 0 for no limit"
            self.problems.append(f"{name} must be {what}, not {text!r}.")
        return 0 if text else None

    def name(self, name: str, default: str) -> str:
        what = "a Kubernetes name (a-z, 0-9, '-' and '.')"
        return self.matching(name, default, DNS_NAME.fullmatch, what)

    def queue(self, name: str) -> str:
        what = "the name of a LocalQueue: at most 63 characters of a-z, 0-9, '-' and '.'"
        return self.matching(name, "", LABEL_NAME.fullmatch, what)

    def hosts(self, name: str) -> frozenset[str]:
        what = "host names separated by commas, such as train.example.com,.lab.example"
        names = self.text(name).lower().replace(",", " ").split()
        if not all(HOST_NAME.fullmatch(host) for host in names):
            self.problems.append(f"{name} must be {what}, not {' '.join(names)!r}.")
        return frozenset(names)

    def networks(self, name: str, default: str) -> tuple[str, ...]:
        found = tuple(self.text(name, default).replace(",", " ").split())
        if found == ("none",):
            return ()
        if not all(map(is_network, found)):
            what = "addresses and networks such as 10.0.0.5,10.42.0.0/16, or none"
            self.problems.append(f"{name} must be {what}, not {' '.join(found)!r}.")
        return found

    def path_prefix(self, name: str) -> str:
        what = "a path such as /train, of letters, digits and '-', '_', '.' and '~'"
        return self.matching(name, "", is_path_prefix, what).rstrip("/")

    def address(self, name: str, default: str) -> str:
        def fits(text: str) -> bool:
            host, _, port = text.rpartition(":")
            return bool(is_host(host) and DIGITS.fullmatch(port)) and int(port) <= 65535

        return self.matching(name, default, fits, "HOST:PORT such as 0.0.0.0:5000 or [::]:5000")

    def database_host(self, name: str) -> str:
        """Return a host name or IP address; brackets around an IPv6 address are removed."""
        text = self.text(name)
        if not text or is_host(text) or is_ipv6(text):
            return text.strip("[]")
        host, _, port = text.rpartition(":")
        if is_host(host) and DIGITS.fullmatch(port):
            remedy = f"set {name}={host.strip('[]')} and DB_PORT={port}"
            self.problems.append(f"{name} must be a host without a port, not {text!r}: {remedy}.")
        else:  # it may be a URL with a password, so it is not quoted
            self.problems.append(
                f"{name} must be a host name or IP address such as 10.0.0.5: a URL belongs in "
                "DB_URL, and a port in DB_PORT."
            )
        return text


def _launcher(env: _Environment, in_pod: bool) -> LauncherName:
    choice = env.choice("LAUNCHER", ("auto", "kubernetes", "local"))
    return "kubernetes" if choice == "kubernetes" or (choice == "auto" and in_pod) else "local"


def _model_image(env: _Environment, launcher: LauncherName) -> str:
    image = env.text("AE_MODEL_IMAGE_URL")
    if launcher == "kubernetes" and not image:
        env.problems.append(
            "AE_MODEL_IMAGE_URL is missing: set it to the image that trains, "
            f"such as localhost:5000/autoencoder:{__version__}."
        )
    return image


def _api_tokens(env: _Environment) -> tuple[str, Path | None]:
    """Return API_TOKEN and the path in API_TOKEN_FILE, and check the tokens in either."""
    token, file = env.raw("API_TOKEN"), env.text("API_TOKEN_FILE")
    if token and file:
        env.problems.append("API_TOKEN and API_TOKEN_FILE are both set: keep one of them.")
    try:
        if file:
            TokenFile(Path(file)).current()
        elif token:
            parse(token)
    except TokensError as error:
        env.problems.append(f"{error}." if file else f"API_TOKEN is invalid: {error}.")
    return token, Path(file).absolute() if file else None


def _database_url(env: _Environment, data_dir: Path) -> URL:
    """Return the URL in DB_URL, or one made of the other DB_... variables, or of SQLite."""
    sqlite = URL.create("sqlite", database=str(data_dir / "experiments.sqlite3"))
    url = env.secret("DB_URL")
    port = env.integer("DB_PORT", 3306, lowest=1, highest=65535)
    parts = {"DB_IP": env.database_host("DB_IP")}
    parts |= {name: env.text(name) for name in ("DB_USER", "DB_NAME")}
    parts["DB_PASSWORD"] = env.secret("DB_PASSWORD")
    given = [name for name, value in parts.items() if value]
    if url and given:
        env.problems.append(
            f"DB_URL and {', '.join(given)} are set: keep DB_URL, or the others, not both."
        )
        return sqlite
    if url:
        return _server_url(env, url) or sqlite
    if not given:
        return sqlite
    missing = [name for name, value in parts.items() if not value]
    env.problems += [
        f"{name} is missing: a MySQL connection needs it in addition to {', '.join(given)}."
        for name in missing
    ]
    return URL.create(
        "mysql+pymysql",
        username=parts["DB_USER"],
        password=parts["DB_PASSWORD"],
        host=parts["DB_IP"],
        port=port,
        database=parts["DB_NAME"],
    )


def _server_url(env: _Environment, text: str) -> URL | None:
    """Parse DB_URL. No message quotes the text, because it contains the password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        env.problems.append("DB_URL is not a URL such as mysql://user:password@host:3306/name.")
        return None
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database:
        path = str(Path(url.database).absolute())
        return URL.create("sqlite", database=path)
    if backend in ("mysql", "mariadb"):
        missing = [
            part for part in ("username", "password", "host", "database") if not getattr(url, part)
        ]
        if missing:
            env.problems.append(f"DB_URL names no {' and no '.join(missing)}.")
        if url.query.get("ssl_disabled") in ("0", "false"):  # PyMySQL takes any text for true
            url = url.difference_update_query(["ssl_disabled"])
        return url.set(drivername="mysql+pymysql")  # it detects MariaDB by itself
    env.problems.append(f"DB_URL must begin with mysql, mariadb or sqlite, not {backend!r}.")
    return None


def _pod_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="ascii").strip()
    except OSError:
        return "default"
