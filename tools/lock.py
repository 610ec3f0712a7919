"""Write *.lock: every package at one exact version, with the sha256 of each file of that version.

    python -m tools.lock            # keep versions that still match, and add new packages
    python -m tools.lock --upgrade  # resolve all versions again

Uses uv, which takes hashes from the index (pip-compile downloads every file to compute them), and
whose single lock is valid for all platforms and Python versions that the project supports.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "common"
BUILD = re.compile(r"(torch|triton)==|(cuda|nvidia)-")  # needed by one build of PyTorch only
HASH = re.compile(r"--hash=(\S+)")


def resolve(source: Path, target: Path, *options: str) -> None:
    """Lock the ranges of `source`; versions already in `target` stay if they still match."""
    uv = [sys.executable, "-m", "uv", "--quiet", "pip", "compile"]
    format_options = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-header"]
    # pip-audit depends on pip, which the virtual environment brings along.
    format_options += ["--no-annotate", "--no-emit-package=pip"]
    command = [*uv, *format_options, f"--output-file={target}", *options, str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def entries(lock: str) -> list[str]:
    """Split a lock into its entries, each a package with its hashes."""
    return [
        entry.rstrip() for entry in re.split(r"^(?=\w)", lock, flags=re.MULTILINE) if entry.strip()
    ]


def cpu_build(torch: str, before: str) -> str:
    """Return the entry of PyTorch's CPU build at the version of the entry `torch`.

    The default index does not have this build. Its hash is that of the file that pip finds with
    this machine's settings (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL); hashes of the same version in
    the previous lock `before` stay. Without any hash the entry cannot be installed, and the other
    build is used.
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
    return " \\\n    ".join([pin, *(f"--hash={value}" for value in sorted(hashes))])


def lock_model(*options: str) -> None:
    """Lock the packages of the model images: the common ones, and PyTorch in two builds.

    The default index's build for Linux is for GPUs and depends on CUDA packages of several GB; the
    CPU build does not. The image's build decides which of the two it can install.
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
    """Write all locks; each is constrained by those before it, as they are installed together."""
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
