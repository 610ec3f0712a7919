"""The roles of a process, from web to preflight, and what most of them do first.

A role imports only what it needs: the reconciler takes 17 MB less memory without the web app, and
39 MB less without the Kubernetes client.
"""

import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from functools import partial
from itertools import chain
from types import FrameType
from typing import TYPE_CHECKING

from backend.addresses import socket_address
from backend.domain.exceptions import StoreUnavailable, WrongOwner
from backend.launchers.owner import owner_of
from backend.settings import Settings
from backend.store.queries import Store

CONFIG = "python:backend.gunicorn_config"
MOST_FILES = 65_536  # open at once: enough for MOST_CONNECTIONS of each web worker

if TYPE_CHECKING:
    from backend.experiments.reconciling.health import Passes
    from backend.experiments.services import Services

log = logging.getLogger(__name__)


class CannotStart(Exception):
    """The process cannot start; the message says what to change."""


def prepare(
    settings: Settings, *, database_required: bool = False, check_owner: bool = True
) -> None:
    """Create the folders, migrate the database and check that it belongs to this server.

    A database that does not answer prevents the start only if it is required; otherwise the first
    statement after its return migrates it. Likewise, in a pod, a database of another server: the
    command `claim` can only be run in a container that does not exit.

    Raises:
        CannotStart: a folder cannot be created, or the database denies access.
        SchemaError: the database holds tables of another program or of a newer version, or it
            belongs to another server.
    """
    folders = [settings.output_dir, *([settings.data_dir] if settings.sqlite_path else [])]
    if settings.launcher == "local":
        folders.append(settings.input_dir)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotStart(f"{folder} cannot be created: {error.strerror}.") from error
    find_owner = partial(owner_of, settings) if check_owner else None
    store = Store(settings.database_url, find_owner=find_owner)
    try:
        store.prepare()
    except StoreUnavailable as error:
        if error.denied:
            raise CannotStart(
                f"The database refuses us: {error}. Check DB_USER, DB_PASSWORD and DB_NAME."
            ) from error
        if database_required:
            raise CannotStart(f"The database does not answer: {error}.") from error
        log.warning("The database does not answer yet: %s", error)
    except WrongOwner as error:
        if database_required or not settings.in_pod:
            raise
        log.error("Nothing is read or changed until the database is moved here. %s", error)
    finally:
        store.close()  # a connection must not be shared by forked processes


def check_addresses(settings: Settings, *variables: str) -> None:
    """Check that the addresses in these settings can be bound, such as "BIND".

    Raises:
        CannotStart: one of them cannot be bound; the message names the variable.
    """
    for variable in variables:
        address: str = getattr(settings, variable.lower())
        if not address:
            continue
        try:
            family, target = socket_address(address)
            with socket.socket(family) as probe:  # as gunicorn and the health server bind theirs
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(target)
                probe.listen()
        except (socket.gaierror, UnicodeError) as error:
            raise CannotStart(
                f"{variable}: {address} cannot be used: its host name does not resolve to an "
                "address of this machine. Set an IP address such as 0.0.0.0:5000 or [::]:5000."
            ) from error
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CannotStart(f"{variable}: {address} cannot be used: {reason}.") from error


def raise_file_limit() -> None:
    """Allow as many open files as the system does, up to MOST_FILES; each client takes one."""
    files, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if highest == resource.RLIM_INFINITY else min(highest, MOST_FILES)
    if files != resource.RLIM_INFINITY and files < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, highest))


def preload(settings: Settings) -> None:
    """Import what web and reconcile both need, so that they share its memory after a fork.

    Objects made so far are excluded from garbage collection, which would write to their pages and
    so end the sharing.
    """
    import backend.app
    import backend.experiments.reconciler
    import backend.sweeps.driver

    if settings.launcher == "kubernetes":
        import backend.launchers.kubernetes.launcher
    else:
        import backend.launchers.local.launcher  # noqa: F401
    gc.freeze()


def web(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    from gunicorn.app.wsgiapp import WSGIApplication

    check_addresses(settings, "BIND")
    if settings.launcher == "local":
        import backend.launchers.local.slots  # noqa: F401  (it keeps the limit for trainers)
    raise_file_limit()
    sys.argv = ["gunicorn", "--config", str(CONFIG)]
    WSGIApplication("%(prog)s [OPTIONS]").run()


def reconcile(settings: Settings) -> int:
    """Reconcile until SIGTERM or SIGINT, and answer health checks if HEALTH_BIND is set.

    Of several reconcilers one works; the others wait to replace it.

    Returns:
        0, or 1 if another reconciler has become the leader: this one has to be started again.
    """
    from backend.experiments.reconciler import Reconciler
    from backend.experiments.reconciling.health import serve_health
    from backend.experiments.services import build
    from backend.launchers.leadership import Leadership, make_seat
    from backend.sweeps.driver import Driver
    from backend.sweeps.service import make_sweeps

    check_addresses(settings, "HEALTH_BIND")
    services = build(settings)
    driver = Driver(make_sweeps(services, settings), services)

    def wake() -> None:
        services.summaries.wake()
        driver.wake()

    reconciler = Reconciler(services, settings.job_ttl_seconds, after_pass=wake)
    driver.count_failure = reconciler.passes.experiment_failed

    stopped, lost = threading.Event(), threading.Event()
    leadership = Leadership(make_seat(settings), reconciler.passes.stand_by)

    def stop(_signal: int = 0, _frame: FrameType | None = None) -> None:
        stopped.set()
        reconciler.stop()
        wake()
        services.launcher.close()

    def lose() -> None:
        lost.set()
        stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if settings.health_bind:
        serve_health(settings.health_bind, reconciler.passes)
    if not leadership.wait(stopped):
        return 0
    reconciler.passes.lead()
    keeping = threading.Thread(target=leadership.keep, args=[stopped, lose])
    keeping.start()
    threads = (
        *(services.departures.run, services.summaries.run, services.sampler.run),
        *(services.data_sets.run, driver.run),
    )
    for work in threads:
        threading.Thread(target=work, args=[stopped], daemon=True).start()
    start_webhooks(settings, services, reconciler.passes, stopped)
    reconciler.run()
    keeping.join()
    return int(lost.is_set())


def start_webhooks(
    settings: Settings, services: "Services", passes: "Passes", stopped: threading.Event
) -> None:
    """Deliver webhooks, in a thread for each target, until `stopped` is set."""
    if not settings.webhooks:
        return
    from backend.experiments.webhooks.delivery import Delivery
    from backend.experiments.webhooks.sender import Sender

    sender = Sender(settings.webhook_allowed, settings.webhook_secret)
    for target in settings.webhooks:
        delivery = Delivery(target, services.store, sender, passes)
        threading.Thread(target=delivery.run, args=[stopped], daemon=True).start()


def preflight(settings: Settings) -> int:
    """Check whether every node that may train reaches both folders, and print the report.

    Returns:
        1 if experiments would fail somewhere, else 0.

    Raises:
        CannotStart: the API server does not answer, or does not allow it.
    """
    from backend.launchers.base import LauncherUnavailable
    from backend.launchers.preflight.check import Machine, Site, check

    site: Site = Machine({"input": settings.input_dir, "output": settings.output_dir})
    if settings.launcher == "kubernetes":
        from backend.launchers.kubernetes.preflight import ClusterSite

        site = ClusterSite(settings)
    try:
        report = check(site)
    except LauncherUnavailable as error:
        raise CannotStart(f"{error.diagnosis.message} {error.diagnosis.remedy}") from error
    for line in report.lines():
        print(line)
    return 0 if report.is_good else 1


def migrate(_settings: Settings) -> None:
    """Log that the database is migrated; `prepare` has done it, as for every role."""
    log.info("The database has the schema of this version.")


def claim(settings: Settings) -> None:
    """Make the database belong to this server, from now on and whoever it belonged to.

    Raises:
        CannotStart: the database does not answer.
    """
    current = owner_of(settings)
    store = Store(settings.database_url)
    try:
        before, live = store.claim(current)
    except StoreUnavailable as error:
        raise CannotStart(f"The database does not answer: {error}.") from error
    finally:
        store.close()
    if before and not before.is_same(current):
        print(f"The database belonged to: {before}")
    print(f"The database belongs to this server: {current}")
    if live:
        print(f"{live} experiment(s) have not ended: those without a Job here will fail.")


def rebuild(settings: Settings, *, check: bool) -> int:
    """Restore a lost database; with `check`, only report what differs.

    Returns:
        1 if `check` found differences, else 0.

    Raises:
        CannotStart: the database, the Jobs or the output folder cannot be read.
    """
    from backend.experiments import rebuild as rebuilding
    from backend.experiments.services import build
    from backend.launchers.base import LauncherUnavailable
    from backend.sweeps import rebuild as sweep_rebuilding
    from backend.sweeps.service import make_sweeps

    services = build(settings)
    sweeps = make_sweeps(services, settings)
    try:
        if not check:
            print(rebuilding.rebuild(services.archive, services.launcher))
            print(sweep_rebuilding.rebuild(sweeps))
            return 0
        count = 0
        for difference in chain(
            rebuilding.differences(services.archive, services.launcher),
            sweep_rebuilding.differences(sweeps),
        ):
            print(difference)
            count += 1
        print(f"{count} difference(s) between the database, the folders and the Jobs")
        return 1 if count else 0
    except (StoreUnavailable, LauncherUnavailable, OSError) as error:
        raise CannotStart(f"{error}. What was done so far is kept: start it again.") from error
    finally:
        services.close()
