"""`make bench`: measure everything, print a table, and write it into docs/performance.md.

    python -m bench.run [SECTION ...]       # without a section: all but peers

QUICK=1 takes fewer and smaller rounds, and only prints. LAB (a folder with a program `mysql`) adds
measurements that need MySQL, KUBECONFIG those that need a cluster; skipped sections are named.
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
TERMINATED = 143  # 128 + SIGTERM, as in a shell
WIDTHS = (62, 34, 34, 6, 16, 6)


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: The name of its module, and of its markers in the page.
        folder: The package in `bench` that its module is in, if it is in one.
        needs: Environment variables that it needs.
        on_request: Whether it is measured only if named on the command line.
    """

    name: str
    folder: str = ""
    needs: tuple[str, ...] = ()
    on_request: bool = False

    @property
    def module(self) -> str:
        """The full name of its module."""
        return ".".join(filter(None, ("bench", self.folder, self.name)))

    def missing(self) -> list[str]:
        """Return the needed variables that are not set."""
        return [name for name in self.needs if name not in os.environ]


SECTIONS = (
    Section("server"),
    Section("crowd", "pages"),
    Section("listing", "pages"),
    Section("dashboard", "pages"),
    Section("curves", "pages"),
    Section("logs", "pages"),
    Section("trainer", "training"),
    Section("local_start", "training"),
    Section("resources", "training"),
    Section("sweeps", "sweeps"),
    Section("wall_time", "sweeps"),
    Section("samplers", "sweeps"),
    Section("stop_rules", "sweeps"),
    Section("submission", "kubernetes", ("KUBECONFIG", "LAB")),
    Section("endurance", "kubernetes", ("KUBECONFIG",)),
    Section("reconcile", "kubernetes", ("KUBECONFIG",)),
    Section("image", "kubernetes", ("REPOSITORY_URL",)),
    Section("scale", "kubernetes", on_request=True),
    Section("peers", needs=("LAB",), on_request=True),
)


def main() -> int:
    """Measure the chosen sections.

    Returns:
        1 if a section could not be measured; the page then keeps its earlier figures.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    names = [section.name for section in SECTIONS]
    parser.add_argument("section", nargs="*", help=f"any of {', '.join(names)}")
    wanted = parser.parse_args().section
    if unknown := set(wanted) - set(names):
        parser.error(
            f"unknown section: {', '.join(sorted(unknown))}. Choose from {', '.join(names)}."
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # runs the `finally` blocks
    failed = []
    if not is_quick():
        from bench.machine import machine, versions  # takes a second to import

        write("machine", f"{machine()}\n{versions()}\n")
    print(*map(str.ljust, page.COLUMNS, WIDTHS))
    for section in SECTIONS:
        if section.name not in wanted and (wanted or section.on_request):
            continue
        if missing := section.missing():
            print(f"\n{section.name}: skipped, it needs {' and '.join(missing)}", flush=True)
            continue
        try:
            measure(section)
        except Exception:
            traceback.print_exc()
            failed.append(section.name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measure(section: Section) -> None:
    """Measure a section, print its rows at once, and write them into the page unless quick."""
    quick, name = is_quick(), section.name
    module = import_module(section.module)
    print(f"\n{name}")
    begin = datetime.now(UTC)
    rows = list(printed(module.rows(quick)))
    if not quick:
        growths = list(drawn(module.growths())) if hasattr(module, "growths") else []
        how = module.how() if hasattr(module, "how") else ""
        write(name, page.section(rows, growths, taken(how, begin)))
    print(f"{name} took {(datetime.now(UTC) - begin).total_seconds():.0f} s")


def is_quick() -> bool:
    """Return whether QUICK=1 is set."""
    return os.environ.get("QUICK") == "1"


def printed(rows: Iterable[Row]) -> Iterator[Row]:
    """Print each row of the table before yielding it."""
    for row in rows:
        print(*map(str.ljust, page.cells(row), WIDTHS), flush=True)
        yield row


def drawn(growths: Iterable[Growth]) -> Iterator[Growth]:
    """Print and draw each plot before yielding it."""
    from bench import plots  # Matplotlib takes a second to import

    for growth in growths:
        print(f"{growth.title}: {growth.cost} against {growth.work}")
        for name, points in growth.series.items():
            shown = ", ".join(f"{work:g}: {cost:.4g}" for work, cost in points)
            print(f"  {name}: {shown}", flush=True)
        plots.save(growth)
        yield growth


def taken(how: str, begin: datetime) -> str:
    """Return how and when a section was measured."""
    end = datetime.now(UTC)
    when = f"Taken {begin:%Y-%m-%d}, {begin:%H:%M} to {end:%H:%M} UTC"
    return f"{how} {when}.".lstrip()


def write(name: str, content: str) -> None:
    """Write the content of a section into the page."""
    PAGE.write_text(page.replaced(PAGE.read_text(), name, content))


if __name__ == "__main__":
    sys.exit(main())
