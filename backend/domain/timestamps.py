"""Times as text: ISO 8601 in UTC with `Z`."""

from datetime import UTC, datetime

# Stored by all databases.
TIMES = (datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))


def to_text(time: datetime) -> str:
    """Return an aware time as text, with microseconds."""
    text = time.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """Return the aware time that `text` represents.

    Raises:
        ValueError: it is not a time with a time zone, or its year is not within 1970 to 9998,
            which every supported database can store.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or not 1970 <= time.year < 9999:
        raise ValueError("it has no time zone, or its year is not within 1970 to 9998")
    return time.astimezone(UTC)


def from_database(text: str) -> datetime:
    """Return the aware time that a database stores as `text`: UTC without a time zone."""
    return datetime.fromisoformat(f"{text}+00:00")
