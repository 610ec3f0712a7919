"""Why something cannot be done with a sweep; each message is a sentence for clients."""

from backend.domain.exceptions import MAX_NAMES
from backend.domain.parameter import shown_value


class TrialIdTaken(Exception):
    """An experiment that is no trial of a sweep has the id of one of its trials."""

    def __init__(self, *experiment_ids: str) -> None:
        shown = ", ".join(repr(name) for name in experiment_ids[:MAX_NAMES])
        super().__init__(
            f"The sweep would name a trial like an experiment that exists already: {shown}. Choose "
            "another sweep_id, or delete that experiment."
        )


class UnknownSweep(Exception):
    """There is no sweep of this id.

    Attributes:
        sweep_id: what was asked for.
    """

    def __init__(self, sweep_id: str) -> None:
        super().__init__(f"There is no sweep {shown_value(sweep_id)}; GET /sweeps lists all.")
        self.sweep_id = sweep_id


class OtherSweep(Exception):
    """The id belongs to a sweep that was started with other fields.

    Attributes:
        sweep_id: that id.
    """

    def __init__(self, sweep_id: str) -> None:
        super().__init__(
            f"sweep_id {sweep_id!r} was started before with other fields: send those again to get "
            f"that sweep (GET /sweeps/{sweep_id} shows them), change it with PATCH, or choose "
            "another sweep_id."
        )
        self.sweep_id = sweep_id


class WrongSweepStatus(Exception):
    """The status of a sweep does not allow what was asked for."""

    def __init__(self, sweep_id: str, status: str, remedy: str) -> None:
        super().__init__(f"The sweep {sweep_id!r} is {status}: {remedy}")


class TooFewTrials(Exception):
    """A sweep cannot be changed to have fewer trials than it has had, or more than it can have."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"trials {problem}")
        self.problem = problem
