"""Inject faults while clients work, and check the outcome.

    python -m tests.chaos [--on local|replicas|lab] [--seed N] [--runs N] [--neighbours] [--keep]

`local` is `serve` on this machine with SQLite and local processes. `replicas` is two servers
behind nginx, and two reconcilers, likewise. `lab` is two processes of each
role with the lab's MySQL and Kubernetes; the variable LAB names the lab's folder. Exits with 1 if
any invariant was violated.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.chaos.breaking import Breaker, Platform
from tests.chaos.check import check
from tests.chaos.clients import Api, Clients
from tests.chaos.plan import make_plan
from tests.chaos.report import Figures, report
from tests.chaos.watchers import watching

DEFAULT_SEED = 20261125
DEFAULT_EXPERIMENTS = {"local": 200, "replicas": 100, "lab": 40}


def main() -> int:
    """Carry out the plan of a seed on a platform, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--on", choices=DEFAULT_EXPERIMENTS, default="local", help="platform")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="seed of the plan")
    parser.add_argument("--runs", type=int, metavar="N", help="number of experiments")
    parser.add_argument(
        "--neighbours", action="store_true", help="start servers that must be refused, too (local)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder for inspection")
    arguments = parser.parse_args()
    experiments = arguments.runs or DEFAULT_EXPERIMENTS[arguments.on]
    folder = Path(tempfile.mkdtemp(prefix="hello-flask-chaos-"))
    platform = make_platform(arguments.on, folder, neighbours=arguments.neighbours)
    try:
        figures = measure(platform, arguments.seed, experiments)
    finally:
        platform.close()
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(report(arguments.on, figures))
    if arguments.keep:
        print(f"The folder is {folder}.")
    return 1 if any(figures.violations.values()) else 0


def make_platform(name: str, folder: Path, *, neighbours: bool = False) -> Platform:
    """Return the platform of that name in an empty folder."""
    if name == "lab":
        from tests.chaos.lab_platform import LabPlatform

        return LabPlatform(folder)
    if name == "replicas":
        from tests.chaos.replica_platform import ReplicaPlatform

        return ReplicaPlatform(folder)
    from tests.chaos.local_platform import LocalPlatform

    return LocalPlatform(folder, neighbours=neighbours)


def measure(platform: Platform, seed: int, experiments: int) -> Figures:
    """Inject faults while the clients work, wait until everything has ended, and check it."""
    platform.start()
    plan = make_plan(seed, experiments, platform.faults)
    api = Api(platform.addresses)
    clients = Clients(plan, api, platform.outputs)
    breaker = Breaker(plan, platform, clients)
    began = time.monotonic()
    breaking = threading.Thread(target=breaker.run, name="breaker")
    with watching(api, platform.addresses[0], plan.experiments):
        breaking.start()
        clients.run()
        breaking.join()
    platform.heal()
    last_fault = time.monotonic()
    stuck = clients.settle_all(platform.quiet_seconds)
    quiet = time.monotonic()
    evidence = clients.gather(
        platform.hits,
        stuck,
        jobs=platform.jobs(),
        differences=platform.problems + platform.differences(),
    )
    return Figures(
        seed=seed,
        evidence=evidence,
        faults=breaker.injected,
        violations=check(evidence),
        worked_seconds=last_fault - began,
        quiet_seconds=quiet - last_fault,
    )


if __name__ == "__main__":
    sys.exit(main())
