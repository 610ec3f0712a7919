"""How a time is written: ISO 8601 in UTC with `Z`."""

from datetime import UTC, datetime


def to_text(time: datetime) -> str:
    """Write an aware time, to the microsecond."""
    text = time.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """Read an aware time.

    Raises:
        ValueError: it is none, or lies before 1970 or after 9998, which not every database keeps.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or not 1970 <= time.year < 9999:
        raise ValueError("it names no time zone, or a year that no run was started in")
    return time.astimezone(UTC)


def from_database(text: str) -> datetime:
    """Read a time as a database keeps it: UTC that does not say so."""
    return datetime.fromisoformat(f"{text}+00:00")
