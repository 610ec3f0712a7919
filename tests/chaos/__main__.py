"""Breaks things while clients work, and judges what came of it.

    python -m tests.chaos [--house local|lab] [--seed N] [--runs N] [--keep]

`local` is `serve` on this machine with SQLite and local runs. `lab` is two of each role with the
kit's MySQL and Kubernetes; the variable LAB names the kit. Exits with 1 if anything was violated.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.chaos.breaking import Breaker, House
from tests.chaos.check import check
from tests.chaos.clients import Api, Clients
from tests.chaos.plan import make_plan
from tests.chaos.report import Figures, report

DEFAULT_SEED = 20261125
DEFAULT_RUNS = {"local": 200, "lab": 40}


def main() -> int:
    """Run the plan of a seed in a house, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--house", choices=DEFAULT_RUNS, default="local")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--keep", action="store_true", help="keep the folder, to look into it")
    arguments = parser.parse_args()
    runs = arguments.runs or DEFAULT_RUNS[arguments.house]
    folder = Path(tempfile.mkdtemp(prefix="hello-flask-chaos-"))
    house = make_house(arguments.house, folder)
    try:
        figures = run(house, arguments.seed, runs)
    finally:
        house.close()
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(report(arguments.house, figures))
    if arguments.keep:
        print(f"The folder is {folder}.")
    return 1 if any(figures.violations.values()) else 0


def make_house(name: str, folder: Path) -> House:
    """Make the house of that name in an empty folder."""
    if name == "lab":
        from tests.chaos.lab_house import LabHouse

        return LabHouse(folder)
    from tests.chaos.local_house import LocalHouse

    return LocalHouse(folder)


def run(house: House, seed: int, runs: int) -> Figures:
    """Let the clients work and the breaker break, wait until it is quiet, and judge."""
    house.start()
    plan = make_plan(seed, runs, house.faults)
    api = Api(house.addresses)
    clients = Clients(plan, api, house.outputs)
    breaker = Breaker(plan, house, clients)
    began = time.monotonic()
    breaking = threading.Thread(target=breaker.run, name="breaker")
    breaking.start()
    clients.run()
    breaking.join()
    house.heal()
    last_fault = time.monotonic()
    stuck = clients.settle_all(house.quiet_seconds)
    quiet = time.monotonic()
    evidence = clients.gather(house.hits, stuck, jobs=house.jobs(), differences=house.differences())
    return Figures(
        seed=seed,
        evidence=evidence,
        broken=breaker.broken,
        violations=check(evidence),
        worked_seconds=last_fault - began,
        quiet_seconds=quiet - last_fault,
    )


if __name__ == "__main__":
    sys.exit(main())
