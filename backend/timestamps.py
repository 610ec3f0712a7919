"""How a time is written: ISO 8601 in UTC with `Z`."""

from datetime import UTC, datetime


def to_text(time: datetime) -> str:
    """Write an aware time, to the microsecond."""
    text = time.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
