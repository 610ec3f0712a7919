import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools.lock import HASH, cpu_build, entries

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "common"
RANGES = {
    ROOT / "requirements.lock": ROOT / "requirements.txt",
    ROOT / "requirements-dev.lock": ROOT / "requirements-dev.txt",
    ROOT / "requirements-bench.lock": ROOT / "requirements-bench.txt",
    MODEL / "requirements.lock": MODEL / "requirements.txt",
}
TORCH, TORCH_CPU = MODEL / "torch.lock", MODEL / "torch-cpu.lock"
LOCKS = [*RANGES, TORCH, TORCH_CPU]
PINS = {lock: dict(re.findall(r"^(\S+)==(\S+)", lock.read_text(), re.M)) for lock in LOCKS}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_packages_are_pinned_with_hashes(lock: Path) -> None:
    for entry in entries(lock.read_text()):
        assert re.match(r"[a-z0-9-]+==[\w.]+(\+cpu)? (; .+ )?\\\n", entry), entry
        hashes = HASH.findall(entry)
        assert hashes
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes), entry


@pytest.mark.parametrize(("lock", "ranges"), RANGES.items(), ids=lambda file: file.name)
def test_versions_are_in_the_ranges(lock: Path, ranges: Path) -> None:
    lines = [line.split("#")[0].strip() for line in ranges.read_text().splitlines()]
    for line in lines:
        if line and not line.startswith("-"):
            wanted = Requirement(line)
            name = wanted.name.lower().replace("_", "-")
            pins = PINS[TORCH] if name == "torch" else PINS[lock]
            assert wanted.specifier.contains(pins[name]), line


def test_locks_agree() -> None:
    for name in {name for pins in PINS.values() for name in pins}:
        versions = {pins[name] for pins in PINS.values() if name in pins}
        assert len({version.removesuffix("+cpu") for version in versions}) == 1, name


def test_pip_requires_hashes() -> None:
    dockerfiles = sorted(ROOT.glob("models/*/Dockerfile"))
    files = [ROOT / "Makefile", ROOT / "Dockerfile", dockerfiles[0], ROOT / ".ci" / "run"]
    files += (ROOT / "tools").glob("*.sh")
    commands = re.findall(
        r"(?:pip\b|PIP\))(?: --[\w-]+(?:[ =]/\S+)?)* install\b[^&|\"\n]*",
        "\n".join(file.read_text() for file in files),
    )
    # The peers of `make bench-peers` are installed in environments of their own.
    ours = [command for command in commands if "-r $<" not in command]
    assert (len(ours), len(commands)) == (3, 4), commands
    assert all("--require-hashes" in command for command in ours), ours


class Pip:
    """The result of a pip that found one file, or none."""

    def __init__(self, sha256: str | None) -> None:
        self.returncode = 0 if sha256 else 1
        hashes = {"archive_info": {"hashes": {"sha256": sha256}}}
        self.stdout = json.dumps({"install": [{"download_info": hashes}]})


@pytest.mark.parametrize(
    ("found", "before", "hashes"),
    [
        ("b", "torch==2.0+cpu \\\n    --hash=sha256:a", ["sha256:a", "sha256:b"]),
        ("b", "torch==1.9+cpu \\\n    --hash=sha256:a", ["sha256:b"]),
        (None, "torch==2.0+cpu \\\n    --hash=sha256:a", ["sha256:a"]),
        (None, "", []),
    ],
    ids=["another machine's stays", "another version's goes", "none here", "none anywhere"],
)
def test_cpu_build_follows_pip(
    monkeypatch: pytest.MonkeyPatch, found: str | None, before: str, hashes: list[str]
) -> None:
    monkeypatch.setattr("tools.lock.subprocess.run", lambda *_, **__: Pip(found))
    made = cpu_build("torch==2.0 \\\n    --hash=sha256:of-the-index", before)
    assert made.split()[0] == "torch==2.0+cpu"
    assert HASH.findall(made) == hashes
