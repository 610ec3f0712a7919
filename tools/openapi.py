"""Write docs/openapi.json and the Postman collection generated from it."""

import json
import tempfile
from pathlib import Path
from typing import Any

from backend.app import create_app
from backend.settings import Settings
from tools import postman

DOCS = Path(__file__).parents[1] / "docs"


def contract() -> Any:
    """Return the document that a server answers at /openapi.json."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings.from_environment({"DATA_DIR": folder, "LAUNCHER": "local"}))
        return app.test_client().get("/openapi.json").get_json()


def as_text(document: Any) -> str:
    """Return a document in its committed format."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def main() -> None:
    """Write both files to docs/."""
    document = contract()
    (DOCS / "openapi.json").write_text(as_text(document))
    (DOCS / "postman_collection.json").write_text(as_text(postman.collection(document)))


if __name__ == "__main__":
    main()
