"""The trainer's own exceptions. Uses the standard library alone."""


class UnusableError(Exception):
    """The input or the configuration cannot be used, and a retry would fail in the same way."""


class InputChangedError(UnusableError):
    """A file that a training began with has changed, or is gone."""


class PeerLostError(Exception):
    """Another worker of the experiment has ended, which is to blame: this one cannot go on."""
