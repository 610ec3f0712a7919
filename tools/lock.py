"""Write *.lock: each package at one exact version, with the sha256 of every file of that version.

    python -m tools.lock            # keep the versions that still fit, add what is new
    python -m tools.lock --upgrade  # choose all versions anew

By uv, which takes the hashes that the index states (pip-compile downloads every file to compute
them), and whose one lock is right for all platforms and all Pythons that the project runs on.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "autoencoder"
BUILD = re.compile(r"(torch|triton)==|(cuda|nvidia)-")  # what one build of PyTorch alone wants
HASH = re.compile(r"--hash=(\S+)")


def resolve(source: Path, target: Path, *options: str) -> None:
    """Lock the ranges in `source`; versions that stand in `target` are kept if they still fit."""
    uv = [sys.executable, "-m", "uv", "--quiet", "pip", "compile"]
    shape = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-header"]
    # pip, which pip-audit names, is the virtual environment's own.
    shape += ["--no-annotate", "--no-emit-package=pip"]
    command = [*uv, *shape, f"--output-file={target}", *options, str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def entries(lock: str) -> list[str]:
    """Split a lock into its packages, each with its hashes."""
    return [
        entry.rstrip() for entry in re.split(r"^(?=\w)", lock, flags=re.MULTILINE) if entry.strip()
    ]


def cpu_build(torch: str, before: str) -> str:
    """Lock PyTorch's build for CPUs at the version of `torch`. The common index does not have it.

    Its hash is that of the file which pip finds by this machine's settings (PIP_FIND_LINKS,
    PIP_EXTRA_INDEX_URL); those that the lock before has for the same version stay. A version
    without a known hash cannot be installed, so that the other build is taken.
    """
    pin = f"{torch.split()[0]}+cpu"
    hashes = set(HASH.findall(before)) if before.split(" ")[0] == pin else set()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    report = subprocess.run(
        [*pip, "--dry-run", "--ignore-installed", "--no-deps", "--report=-", pin],
        check=False,
        stdout=subprocess.PIPE,
    )
    if report.returncode == 0:
        (found,) = json.loads(report.stdout)["install"]
        hashes.add(f"sha256:{found['download_info']['archive_info']['hashes']['sha256']}")
    return " \\\n    ".join([pin, *(f"--hash={one}" for one in sorted(hashes))])


def lock_model(*options: str) -> None:
    """Lock the model image's packages: those that every PyTorch wants, and PyTorch in two builds.

    The common index's build for Linux is for GPUs and names CUDA packages of several GB; the one
    for CPUs names none. Which of the two a machine can have, it finds out when it installs.
    """
    common, gpu, cpu = MODEL / "requirements.lock", MODEL / "torch.lock", MODEL / "torch-cpu.lock"
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.lock"
        whole.write_text(common.read_text() + gpu.read_text())
        resolve(MODEL / "requirements.txt", whole, *options)
        resolved = entries(whole.read_text())
    builds = [entry for entry in resolved if BUILD.match(entry)]
    (torch,) = [entry for entry in builds if entry.startswith("torch==")]
    common.write_text("".join(f"{entry}\n" for entry in resolved if entry not in builds))
    gpu.write_text("".join(f"{entry}\n" for entry in builds))
    cpu.write_text(cpu_build(torch, cpu.read_text()) + "\n")


def main() -> None:
    """Write all locks. They are installed together, so each is bound by those before it."""
    options = sys.argv[1:]
    backend = ROOT / "requirements.lock"
    resolve(ROOT / "requirements.txt", backend, *options)
    options.append(f"--constraint={backend}")
    lock_model(*options)
    options.append(f"--constraint={MODEL / 'requirements.lock'}")
    development = ROOT / "requirements-dev.lock"
    resolve(ROOT / "requirements-dev.txt", development, *options)
    options.append(f"--constraint={development}")
    resolve(ROOT / "requirements-bench.txt", ROOT / "requirements-bench.lock", *options)


if __name__ == "__main__":
    main()
