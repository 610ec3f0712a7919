"""Read the dependencies of the wheel from the files of ranges that the images are locked from."""

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRAS = {"local": "models/common/requirements.txt"}  # to train on this machine


def read(path: Path) -> list[str]:
    """Return the requirements in a file, without comments and blank lines."""
    lines = (
        line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [line for line in lines if line]


class Requirements(MetadataHookInterface):
    """Hatchling's hook, named in pyproject.toml."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `dependencies` and `optional-dependencies`."""
        root = Path(self.root)
        metadata["dependencies"] = read(root / "requirements.txt")
        metadata["optional-dependencies"] = {
            extra: read(root / path) for extra, path in EXTRAS.items()
        }
