"""The command line: `hello-flask ROLE`, or in a checkout `python -m backend ROLE`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import backend

ROLES = ("serve", "web", "reconcile", "migrate", "claim", "rebuild", "preflight")

LASTING = ("serve", "web", "reconcile")

UNUSABLE = 2
INTERRUPTED = 130  # as a shell reports SIGINT

EPILOG = """\
roles:
  serve                web and reconcile together, on one machine (the default)
  web                  serve HTTP
  reconcile            keep the database in line with the Jobs
  migrate              bring the database to the schema of this version, as every role does at start
  claim                make the database belong to this server, after it was moved here
  rebuild              restore a lost database from the output folder and the Jobs
  preflight            check whether every node that may train reaches both folders

commands of the client (docs/cli.md; hello-flask COMMAND --help):
  submit               start an experiment, and wait for it
  ls, show, compare    list experiments; show one; show several side by side
  logs, files, get     print or follow a log; list and download files
  cancel, retry, rm    cancel, retry and delete experiments
  sweep                start, list, show and change sweeps
  models, data         list the models; list, upload, download and delete data sets
  completion           print a script that completes commands in bash or zsh

environment variables (docs/settings.md explains these and the rest):
  BIND                 address of the HTTP server (127.0.0.1:31112)
  INPUT_DIR            folder of the data sets (./input)
  OUTPUT_DIR           folder of the results (./output)
  DATA_DIR             folder of the SQLite database, if no DB_... is set (./data)
  DB_IP, DB_PORT       address of MySQL or MariaDB
  DB_USER, DB_NAME     its user and database
  DB_PASSWORD          the user's password; or DB_PASSWORD_FILE, a file that holds it
  LAUNCHER             kubernetes or local (auto: kubernetes in a pod, otherwise local)
  AE_MODEL_IMAGE_URL   image that trains; required on Kubernetes
  LOCAL_SLOTS          how many experiments train at once on this machine (half the CPUs)
  API_TOKEN_FILE       file of access tokens; without it, everyone who reaches the server can use it
"""


def main() -> int:
    """Start the role that the command line names, or carry out a command of the client.

    Returns:
        0, 1 if `rebuild --check` or `preflight` found something wrong, or 2 if the settings or the
        database prevent the start; see `hello_flask.command` for the client.
    """
    first = sys.argv[1] if sys.argv[1:] else "serve"
    if first.startswith("-") or first in ROLES:
        return _start_role()
    from hello_flask.command.main import main as command

    return command(sys.argv[1:], ROLES, _command())


def _start_role() -> int:
    # Imported here, because a command of the client must not wait for it.
    import logging

    from backend import roles
    from backend.settings import Settings

    single: dict[str, Callable[[Settings], int | None]] = {
        "web": roles.web,
        "reconcile": roles.reconcile,
        "migrate": roles.migrate,
        "claim": roles.claim,
    }
    arguments = _parse(ROLES)
    role = arguments.role
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    log = logging.getLogger("backend")
    log.info("hello-flask %s: %s", backend.__version__, role)

    def start() -> int | None:
        settings = Settings.from_environment()
        log.info("Input folder %s, output folder %s", settings.input_dir, settings.output_dir)
        if role == "preflight":
            return roles.preflight(settings)
        prepare = partial(
            roles.prepare,
            settings,
            database_required=role not in LASTING,
            check_owner=role not in ("migrate", "claim"),
        )
        if code := _in_child(prepare) if role in LASTING else prepare():
            return code
        if role in ("serve", "web"):
            log.info("Dashboard: %s", settings.dashboard_url)
        if role == "serve":
            from backend.serve import serve

            return serve(settings, run, command=f"{_command()} serve")
        if role == "rebuild":
            return roles.rebuild(settings, check=arguments.check)
        return single[role](settings)

    return run(start)


def run(start: Callable[[], int | None]) -> int:
    """Call `start` and print one line for each problem that prevents the start.

    Returns:
        Its exit code.
    """
    from backend.domain.exceptions import SchemaError
    from backend.roles import CannotStart
    from backend.settings import SettingsError

    try:
        return start() or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except SettingsError as error:
        problems = error.problems
    except (CannotStart, SchemaError) as error:
        problems = [str(error)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return UNUSABLE


def _in_child(prepare: Callable[[], None]) -> int:
    """Prepare in a process whose memory is free again afterwards; Alembic alone takes 10 MB."""
    from backend.children import fork

    child = fork("prepare", lambda: run(prepare))
    child.join()
    code = child.exitcode or 0
    if code < 0:
        print(f"error: the preparation was killed by signal {-code}", file=sys.stderr)
    return code if code >= 0 else UNUSABLE


def _parse(names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=_command(),
        description=backend.__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "role", nargs="?", metavar="role", choices=names, default="serve", help=", ".join(names)
    )
    version = f"hello-flask {backend.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument(
        "--check", action="store_true", help="rebuild: report differences and change nothing"
    )
    arguments = parser.parse_args()
    if arguments.check and arguments.role != "rebuild":
        parser.error(f"--check is an option of rebuild: {_command()} rebuild --check")
    return arguments


def _command() -> str:
    """Return the command that started this program, as a user types it."""
    return "python -m backend" if sys.argv[0].endswith("__main__.py") else "hello-flask"


if __name__ == "__main__":
    sys.exit(main())
