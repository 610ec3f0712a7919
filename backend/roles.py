"""What a process can be: web, reconcile, migrate, rebuild; and what all of them do first."""

import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from backend.domain.exceptions import StoreUnavailable
from backend.settings import Settings
from backend.store.queries import Store

CONFIG = Path(__file__).parents[1] / "gunicorn.conf.py"

log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The process cannot start; the message says which setting to change."""


def prepare(settings: Settings, *, wait: bool = False) -> None:
    """Make the folders and the schema.

    A database that is away keeps nobody from starting, unless `wait` says so: every question to
    it begins with preparing it.

    Raises:
        CannotStart: a folder cannot be made, or the database refuses us.
        SchemaError: the database holds something that must not be touched.
    """
    folders = [settings.output_dir, *([settings.data_dir] if settings.sqlite_path else [])]
    if settings.launcher == "local":
        folders.append(settings.input_dir)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotStart(f"{folder} cannot be made: {error.strerror}.") from error
    store = Store(settings.database_url)
    try:
        store.prepare()
    except StoreUnavailable as error:
        if error.denied:
            raise CannotStart(
                f"The database refuses us: {error}. Check DB_USER, DB_PASSWORD and DB_NAME."
            ) from error
        if wait:
            raise CannotStart(f"The database does not answer: {error}.") from error
        log.warning("The database does not answer yet: %s", error)
    finally:
        store.close()  # no connection may cross a fork


def check_addresses(settings: Settings, *variables: str) -> None:
    """Make sure that the addresses of these variables can be bound.

    Raises:
        CannotStart: one of them cannot.
    """
    for variable in variables:
        address: str = getattr(settings, variable.lower())
        host, _, port = address.rpartition(":")
        try:
            if address:
                socket.create_server((host.strip("[]"), int(port))).close()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CannotStart(f"{variable}: {address} cannot be used: {reason}.") from error


def import_what_is_shared(settings: Settings) -> None:
    """Import what web and reconcile both need, so that they share its memory once forked.

    The garbage collector is kept from what it would write into, and so make each one's own.
    """
    import backend.app
    import backend.experiments.reconciler

    if settings.launcher == "kubernetes":
        import backend.launchers.kubernetes.launcher  # noqa: F401
    gc.freeze()


def web(settings: Settings) -> None:
    """Serve HTTP."""
    from gunicorn.app.wsgiapp import WSGIApplication

    check_addresses(settings, "BIND")
    sys.argv = ["gunicorn", "--config", str(CONFIG)]
    WSGIApplication("%(prog)s [OPTIONS]").run()


def reconcile(settings: Settings) -> None:
    """Reconcile until SIGTERM or SIGINT."""
    from backend.experiments.health import serve_health
    from backend.experiments.reconciler import Reconciler
    from backend.experiments.services import build

    check_addresses(settings, "HEALTH_BIND")
    services = build(settings)
    reconciler = Reconciler(services, settings.job_ttl_seconds)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        reconciler.stop()
        services.launcher.close()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if settings.health_bind:
        serve_health(settings.health_bind, reconciler.passes)
    reconciler.run()


def migrate(_settings: Settings) -> None:
    """Nothing more: every role prepares the database first."""
    log.info("The database has the schema of this version.")


def rebuild(settings: Settings, *, check: bool) -> int:
    """Make a database that was lost right again; with `check`, only say what differs.

    Returns:
        1 if something differs, else 0.

    Raises:
        CannotStart: the database, the Jobs or the output folder cannot be read.
    """
    from backend.experiments import rebuild as work
    from backend.experiments.services import build
    from backend.launchers.base import LauncherUnavailable

    services = build(settings)
    try:
        if not check:
            print(work.rebuild(services.archive, services.launcher))
            return 0
        count = 0
        for difference in work.differences(services.archive, services.launcher):
            print(difference)
            count += 1
        print(f"{count} difference(s) between the database, the folders and the Jobs")
        return 1 if count else 0
    except (StoreUnavailable, LauncherUnavailable, OSError) as error:
        raise CannotStart(f"{error}. What was done stays: run it again.") from error
    finally:
        services.close()
