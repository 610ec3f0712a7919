"""The trainer's own exception. Uses the standard library alone."""


class UnusableError(Exception):
    """The input or the configuration cannot be used, and a retry would fail in the same way."""
