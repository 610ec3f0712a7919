"""Rules for all tests: missing services, a shared server, and a migrated database."""

import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import make_url

from backend.store.queries import Store

ROOT = Path(__file__).parents[1]
ADMIN_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian keeps mariadbd
LAB, CI = os.environ.get("LAB"), os.environ.get("CI")
INSTALL = "tools/install-test-services.sh installs it"


def newman():
    """Return the path of Postman's runner, None if it is not installed."""
    return shutil.which("newman", path=f"{ROOT}/.venv/newman/node_modules/.bin:{ADMIN_PATH}")


# By name, as in the marker `needs`: whether it is there, what it is, and how to get it.
SERVICES = {
    "mariadb": (shutil.which("mariadbd", path=ADMIN_PATH), "MariaDB", INSTALL),
    "mysql": (
        LAB or os.environ.get("TEST_MYSQL_URL"),
        "MySQL",
        "set LAB, or TEST_MYSQL_URL for those that do not restart it",
    ),
    "mysql_control": (LAB, "MySQL", "set LAB, or TEST_MYSQL_URL for those that do not restart it"),
    "newman": (newman(), "newman", INSTALL),
    "nginx": (shutil.which("nginx", path=ADMIN_PATH), "nginx", INSTALL),
    "root": (os.geteuid() == 0, "to mount a file system", "run them as root"),
}
if os.environ.get("TEST_MYSQL_URL"):
    SERVICES["mysql_control"] = (LAB, "a MySQL server that may be restarted", "set LAB")

left_out = pytest.StashKey[Counter]()


def missing(item):
    """Return what a test needs and this machine lacks, as a phrase; None if nothing is missing."""
    for name in (name for mark in item.iter_markers("needs") for name in mark.args):
        is_there, what, remedy = SERVICES[name]
        if not is_there:
            return f"{what} ({remedy})"
    return None


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*services): leave it out if one is missing")
    config.stash[left_out] = Counter()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job: every process that a test interrupts would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave out tests whose service is missing."""
    if CI and LAB:
        return
    without = {item: missing(item) for item in items}
    config.stash[left_out].update(phrase for phrase in without.values() if phrase)
    config.hook.pytest_deselected(items=[item for item in items if without[item]])
    items[:] = [item for item in items if not without[item]]


def pytest_runtest_setup(item):
    """Under CI with LAB nothing is left out."""
    if phrase := missing(item):
        pytest.fail(f"needs {phrase}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Under CI with LAB a skipped test has failed, and says what was missing."""
    report = yield
    if CI and LAB and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {call.excinfo.value if call.excinfo else report}"
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run the tests on MySQL in one process, because they share a server; spread all others.

    Those of a module of browser tests stay together, too: they share a server, its experiments and
    their order. The marker xdist_group would do the same, but has no effect with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            if "mysql" in nodeid:
                return "mysql"
            return nodeid.partition("::")[0] if nodeid.startswith("tests/browser/") else nodeid

    return Scheduling(config, log)


def pytest_sessionfinish(session):
    """Hand the counts of a pytest-xdist worker to the process that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash[left_out])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Keep the counts of a worker; all workers collect the same tests."""
    node.config.stash[left_out] = Counter(getattr(node, "workeroutput", {}).get("left_out"))


def pytest_terminal_summary(terminalreporter, config):
    for phrase, count in config.stash[left_out].items():
        terminalreporter.write_line(f"left out: {count} tests that need {phrase}")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    """An empty database file with the current schema, to be copied: migrating takes 0.2 s."""
    path = tmp_path_factory.mktemp("migrated") / "experiments.sqlite3"
    store = Store(make_url(f"sqlite:///{path}"))
    store.prepare()
    store.close()
    return path
