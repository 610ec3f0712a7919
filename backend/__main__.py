"""The command line: `python -m backend [serve|web|reconcile|migrate|rebuild]`."""

import argparse
import logging
import sys
from collections.abc import Callable

from backend import roles
from backend.domain.exceptions import SchemaError
from backend.settings import Settings, SettingsError

UNUSABLE = 2
INTERRUPTED = 130  # as a shell says it


def main() -> int:
    """Run the role that the command line names.

    Returns:
        0, 1 if `rebuild --check` has found differences, or 2 if the environment or the database
        keeps the process from starting.
    """
    single = {"web": roles.web, "reconcile": roles.reconcile, "migrate": roles.migrate}
    parser = argparse.ArgumentParser(prog="python -m backend", description=__doc__)
    roles_known = ["serve", *single, "rebuild"]
    parser.add_argument("role", nargs="?", choices=roles_known, default="serve")
    parser.add_argument("--check", action="store_true", help="rebuild: only say what differs")
    arguments = parser.parse_args()
    role, check = arguments.role, arguments.check
    if check and role != "rebuild":
        parser.error("--check goes with rebuild alone: python -m backend rebuild --check")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)

    def start() -> int | None:
        settings = Settings.from_environment()
        roles.prepare(settings, wait=role in ("migrate", "rebuild"))
        if role == "serve":
            from backend.serve import serve

            return serve(settings, run)
        if role == "rebuild":
            return roles.rebuild(settings, check=check)
        return single[role](settings)

    return run(start)


def run(start: Callable[[], int | None]) -> int:
    """Call `start`, and say in plain words what keeps it from starting.

    Returns:
        Its exit code.
    """
    try:
        return start() or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except SettingsError as error:
        problems = error.problems
    except (roles.CannotStart, SchemaError) as error:
        problems = [str(error)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
