"""The base of every schema that describes a request."""

from typing import Any

from apiflask import Schema
from marshmallow import RAISE


class StrictSchema(Schema):
    """A schema that refuses fields it does not know, with a message that names those it does."""

    class Meta:
        """Options of marshmallow, which the schemas of requests inherit."""

        unknown = RAISE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        *names, last = self.fields
        known = f"{', '.join(names)} or {last}" if names else last
        self.error_messages |= {
            "unknown": f"is not known: send only {known}.",
            "type": f"The body must be an object with the fields {', '.join(self.fields)}.",
        }
