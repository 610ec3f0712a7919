"""The files that an experiment without DATASET began with. Uses the standard library alone.

They are kept beside the checkpoint, so that a later attempt trains on the same files although
others were added to the input folder meanwhile.
"""

import json
from pathlib import Path

from output_folder import CHECKPOINT, INPUTS, OutputFolder


def recorded_files(folder: OutputFolder) -> dict[str, str] | None:
    """Return name and SHA-256 digest of each file, in their order; None if nothing is recorded."""
    try:
        content = json.loads(folder.read(INPUTS) or b"")
        files = {str(file["name"]): str(file["sha256"]) for file in content["files"]}
    except (ValueError, KeyError, TypeError):
        files = {}
    if not files and folder.size(CHECKPOINT):  # of a version that did not record them
        import checkpoint

        files = checkpoint.input_files(folder)
    return files or None


def record_files(folder: OutputFolder, input_dir: Path, sha256: dict[str, str]) -> None:
    """Record the files that were read, given the digest of each."""
    files = [
        {"name": name, "bytes": (input_dir / name).stat().st_size, "sha256": digest}
        for name, digest in sha256.items()
    ]
    folder.write(INPUTS, json.dumps({"files": files}, indent=2).encode() + b"\n")
