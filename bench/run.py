"""`make bench`: measure everything, print one table, write it into docs/performance.md.

    python -m bench.run [SECTION ...]       # without one: all but peers

QUICK=1 takes fewer and smaller rounds, and only prints. LAB (a folder with a program `mysql`) adds
what needs MySQL, KUBECONFIG what needs a cluster; what is left out is named.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench import page
from bench.figures import Growth, Row

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
TERMINATED = 143  # as a shell says it
WIDTHS = (62, 34, 34, 6, 16, 6)


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: Its module in `bench`, and its markers in the page.
        needs: Variables without which there is nothing to measure on.
        on_request: Whether it is measured only if it is named.
    """

    name: str
    needs: tuple[str, ...] = ()
    on_request: bool = False

    def lacks(self) -> list[str]:
        """Name the variables that are not set."""
        return [name for name in self.needs if name not in os.environ]


SECTIONS = (
    Section("server"),
    Section("listing"),
    Section("dashboard"),
    Section("results"),
    Section("logs"),
    Section("trainer"),
    Section("local_start"),
    Section("submission", ("KUBECONFIG", "LAB")),
    Section("endurance", ("KUBECONFIG",)),
    Section("reconcile", ("KUBECONFIG",)),
    Section("image", ("REPOSITORY_URL",)),
    Section("peers", ("LAB",), on_request=True),
)


def main() -> int:
    """Run the suite.

    Returns:
        1 if a section could not be measured; the page keeps what it says of it.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    names = [section.name for section in SECTIONS]
    parser.add_argument("section", nargs="*", help=f"of {', '.join(names)}")
    wanted = parser.parse_args().section
    if unknown := set(wanted) - set(names):
        parser.error(f"not known: {', '.join(sorted(unknown))}. There are {', '.join(names)}.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # leaves nothing behind
    failed = []
    if not is_quick():
        from bench.machine import machine, versions  # they take a second, which quick has not

        write("machine", f"{machine()}\n{versions()}\n")
    print(*map(str.ljust, page.COLUMNS, WIDTHS))
    for section in SECTIONS:
        if section.name not in wanted and (wanted or section.on_request):
            continue
        if lacks := section.lacks():
            print(f"\n{section.name}: left out, it needs {' and '.join(lacks)}", flush=True)
            continue
        try:
            measure(section.name)
        except Exception:
            traceback.print_exc()
            failed.append(section.name)
    if failed:
        print(f"\nnot measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measure(name: str) -> None:
    """Measure a section, print it as it goes, and write it into the page unless it was quick."""
    quick = is_quick()
    module = import_module(f"bench.{name}")
    print(f"\n{name}")
    begin = datetime.now(UTC)
    rows = list(printed(module.rows(quick)))
    if not quick:
        growths = list(drawn(module.growths())) if hasattr(module, "growths") else []
        how = module.how() if hasattr(module, "how") else ""
        write(name, page.section(rows, growths, taken(how, begin)))
    print(f"{name} took {(datetime.now(UTC) - begin).total_seconds():.0f} s")


def is_quick() -> bool:
    """Tell whether QUICK=1 is set."""
    return os.environ.get("QUICK") == "1"


def printed(rows: Iterable[Row]) -> Iterator[Row]:
    """Print lines of the table as they come."""
    for row in rows:
        print(*map(str.ljust, page.cells(row), WIDTHS), flush=True)
        yield row


def drawn(growths: Iterable[Growth]) -> Iterator[Growth]:
    """Print and draw how costs grow as they come."""
    from bench import plots  # Matplotlib takes a second, which quick has not

    for growth in growths:
        print(f"{growth.title}: {growth.cost} against {growth.work}")
        for name, points in growth.series.items():
            shown = ", ".join(f"{work:g}: {cost:.4g}" for work, cost in points)
            print(f"  {name}: {shown}", flush=True)
        plots.keep(growth)
        yield growth


def taken(how: str, begin: datetime) -> str:
    """Say how and when a section was measured."""
    end = datetime.now(UTC)
    when = f"Taken {begin:%Y-%m-%d}, {begin:%H:%M} to {end:%H:%M} UTC"
    return f"{how} {when}.".lstrip()


def write(name: str, content: str) -> None:
    """Put something between its markers in the page."""
    PAGE.write_text(page.replaced(PAGE.read_text(), name, content))


if __name__ == "__main__":
    sys.exit(main())
