"""Our `serve` with a trainer that exits at once: `python -m bench.peers.serve`."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from backend.__main__ import main
from backend.launchers.local import launcher as local

nothing = Path(__file__).with_name("nothing.py")
replaced: Any = partial(local.LocalLauncher, trainer=nothing)
local.LocalLauncher = replaced  # type: ignore[misc]  # before any role creates a launcher

sys.exit(main())
