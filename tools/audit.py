"""Look for known vulnerabilities in what the locks name; exit with pip-audit's code, not 0 if any.

Where no database can be reached this says so and exits with 0: the other checks are worth having
all the same. Whether one can be reached is asked of it beforehand, because pip-audit passes over a
package that is "not found", which is what a mirror without advisories answers of every package.
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
    "models/autoencoder/requirements.lock",
    "models/autoencoder/torch.lock",  # and so torch-cpu.lock: the same source, built otherwise
)
OSV_URL = os.environ.get("OSV_URL", "https://api.osv.dev/v1/query")
PYPI_URL = "https://pypi.org/pypi/jinja2/2.4.1/json"
# The example of OSV's documentation (POST /v1/query): a release with advisories, in every database.
KNOWN = b'{"version": "2.4.1", "package": {"name": "jinja2", "ecosystem": "PyPI"}}'
SKIPPED = "pip-audit skipped: its database cannot be reached"


def knows_an_advisory(request: str | urllib.request.Request, field: str) -> bool:
    """Ask a database about a release with advisories: True if it names some within ten seconds."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(json.load(answer).get(field))
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return False


def reachable_service() -> list[str]:
    """Return the options that name a database to pip-audit, or nothing."""
    headers = {"Content-Type": "application/json"}
    if knows_an_advisory(urllib.request.Request(OSV_URL, KNOWN, headers), "vulns"):
        return ["--vulnerability-service=osv", f"--osv-url={OSV_URL}"]
    if knows_an_advisory(PYPI_URL, "vulnerabilities"):
        return ["--vulnerability-service=pypi"]
    return []


def audit(locks: list[str], service: list[str]) -> int:
    """Run pip-audit over files of exact versions; 0 if nothing is known against them."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps"]
    command += ["--progress-spinner=off", *service]
    command += [option for lock in locks for option in ("--requirement", lock)]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def main() -> int:
    """Audit the files named on the command line, or all locks."""
    service = reachable_service()
    if not service:
        print(SKIPPED)
        return 0
    return audit(sys.argv[1:] or list(LOCKS), service)


if __name__ == "__main__":
    sys.exit(main())
