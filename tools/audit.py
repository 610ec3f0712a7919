"""Audit the locked packages for known vulnerabilities; exit with pip-audit's code.

If no advisory database can be reached, print that and exit with 0, so that the other checks can
still be used offline. The database is probed first, because pip-audit skips a package that is "not
found", which is what a mirror without advisories answers for every package.
"""

import http.client
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-bench.lock",
    "models/common/requirements.lock",
    "models/common/torch.lock",  # covers torch-cpu.lock, a build of the same source
)
OSV_URL = os.environ.get("OSV_URL", "https://api.osv.dev/v1/query")
PYPI_URL = "https://pypi.org/pypi/jinja2/2.4.1/json"
# A release with advisories in every database: the example of OSV's documentation (POST /v1/query).
KNOWN = b'{"version": "2.4.1", "package": {"name": "jinja2", "ecosystem": "PyPI"}}'
SKIPPED = "pip-audit skipped: no advisory database can be reached"


def knows_an_advisory(request: str | urllib.request.Request, field: str) -> bool:
    """Return whether a database lists advisories of a vulnerable release within ten seconds."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(json.load(answer).get(field))
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return False


def reachable_service() -> list[str]:
    """Return pip-audit's options for a database that can be reached, or an empty list."""
    headers = {"Content-Type": "application/json"}
    if knows_an_advisory(urllib.request.Request(OSV_URL, KNOWN, headers), "vulns"):
        return ["--vulnerability-service=osv", f"--osv-url={OSV_URL}"]
    if knows_an_advisory(PYPI_URL, "vulnerabilities"):
        return ["--vulnerability-service=pypi"]
    return []


def audit(locks: list[str], service: list[str]) -> int:
    """Run pip-audit on lock files, and return its exit code."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps"]
    command += ["--progress-spinner=off", *service]
    command += [option for lock in locks for option in ("--requirement", lock)]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def main() -> int:
    """Audit the lock files on the command line, or all of them."""
    service = reachable_service()
    if not service:
        print(SKIPPED)
        return 0
    return audit(sys.argv[1:] or list(LOCKS), service)


if __name__ == "__main__":
    sys.exit(main())
