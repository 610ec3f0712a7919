"""The command line: `python -m backend [serve|web|reconcile|migrate]`."""

import argparse
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from backend.settings import Settings, SettingsError
from backend.store.engine import StoreUnavailable
from backend.store.queries import Store
from backend.store.schema import SchemaError

CONFIG = Path(__file__).parents[1] / "gunicorn.conf.py"
RESTART_PAUSE_SECONDS = 1.0

log = logging.getLogger("backend")


class CannotStart(Exception):
    """The process cannot start; the message says which setting to change."""


def web(settings: Settings) -> None:
    """Serve HTTP."""
    from gunicorn.app.wsgiapp import WSGIApplication

    _check_address_free("BIND", settings.bind)
    sys.argv = ["gunicorn", "--config", str(CONFIG)]
    WSGIApplication("%(prog)s [OPTIONS]").run()


def reconcile(settings: Settings) -> None:
    """Reconcile until SIGTERM or SIGINT."""
    from backend.experiments import Experiments
    from backend.health import serve_health
    from backend.launchers import make_launcher
    from backend.reconciler import Reconciler

    if settings.health_bind:
        _check_address_free("HEALTH_BIND", settings.health_bind)
    launcher = make_launcher(settings)
    reconciler = Reconciler(Experiments.from_settings(settings, launcher), launcher)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        reconciler.stop()
        launcher.close()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if settings.health_bind:
        serve_health(settings.health_bind, lambda: reconciler.ready)
    reconciler.run()


def migrate(_settings: Settings) -> None:
    """Nothing more: the database was prepared at start, as for every role."""
    log.info("The database has the schema of this version.")


def serve(settings: Settings) -> None:
    """Run web and reconcile on this machine until Ctrl-C or SIGTERM; trainings go on."""
    import backend.app  # noqa: F401  (imported once, shared by both)

    context = multiprocessing.get_context("fork")
    roles: dict[str, Callable[[Settings], None]] = {"web": web, "reconcile": reconcile}
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    def start(name: str) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=roles[name], args=(settings,), name=name)
        process.start()
        return process

    _check_address_free("BIND", settings.bind)
    processes = {name: start(name) for name in roles}
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping:
        multiprocessing.connection.wait([one.sentinel for one in processes.values()], timeout=0.5)
        for name, process in processes.items():
            if process.is_alive() or stopping:
                continue
            if process.exitcode is not None and process.exitcode >= 0:
                stopping = True  # it ended on its own; its log says why
            else:
                log.warning("%s was killed (%s) and starts again", name, process.exitcode)
                time.sleep(RESTART_PAUSE_SECONDS)
                processes[name] = start(name)
    for process in processes.values():
        if process.is_alive():
            process.terminate()
    for process in processes.values():
        process.join()
    _say_what_goes_on(settings)


def main() -> int:
    """Run the role that the command line names.

    Returns:
        0, or 2 if the environment or the database keeps the process from starting.
    """
    roles = {"serve": serve, "web": web, "reconcile": reconcile, "migrate": migrate}
    parser = argparse.ArgumentParser(prog="python -m backend", description=__doc__)
    parser.add_argument("role", nargs="?", choices=roles, default="serve")
    role = parser.parse_args().role
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment()
        _prepare(settings, wait=role == "migrate")
        roles[role](settings)
    except SettingsError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except (CannotStart, SchemaError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _prepare(settings: Settings, *, wait: bool) -> None:
    """Make the folders and the schema.

    A database that is away keeps only `migrate` from going on; the others ask again by themselves.
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


def _check_address_free(variable: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_server((host.strip("[]"), int(port))):
            pass
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CannotStart(f"{variable}: {address} cannot be used: {reason}.") from error


def _say_what_goes_on(settings: Settings) -> None:
    from backend.launchers import make_launcher
    from backend.launchers.base import Phase

    if settings.launcher != "local":
        return
    live = (Phase.QUEUED, Phase.RUNNING)
    number = sum(seen.phase in live for seen in make_launcher(settings).observe().values())
    if number:
        print(
            f"Stopped serving. Training goes on: {number} run(s). Start again to see them: "
            "python -m backend serve"
        )


if __name__ == "__main__":
    sys.exit(main())
