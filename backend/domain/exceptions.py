"""Why an experiment cannot be had or submitted."""

import errno
from typing import TYPE_CHECKING

from backend.domain.attempt import Diagnosis

if TYPE_CHECKING:
    from backend.domain.experiment import Parameters


class UnknownExperiment(Exception):
    """There is no experiment of that id, or of those ids; its arguments."""


class UnknownFile(Exception):
    """There is no such file, or none that others may see."""


class TooManyFiles(Exception):
    """A run's folder holds more files than can be put into one archive."""


class UnknownAttempt(Exception):
    """The experiment has had no such attempt.

    Attributes:
        experiment_id: which experiment.
        number: what was asked for.
        last: its current attempt.
    """

    def __init__(self, experiment_id: str, number: int, last: int) -> None:
        super().__init__(experiment_id)
        self.experiment_id, self.number, self.last = experiment_id, number, last


class UnknownDataset(Exception):
    """The input folder holds no such data set.

    Attributes:
        name: what was asked for.
        names: what there is.
    """

    def __init__(self, name: str, names: list[str]) -> None:
        super().__init__(name)
        self.name, self.names = name, names


class OtherParameters(Exception):
    """The id is taken by an experiment with other parameters.

    Attributes:
        experiment_id: that id.
        parameters: those of the experiment that has it.
    """

    def __init__(self, experiment_id: str, parameters: "Parameters") -> None:
        super().__init__(experiment_id)
        self.experiment_id, self.parameters = experiment_id, parameters


class SubmissionRefused(Exception):
    """The launcher will never start the run; it stands as failed.

    Attributes:
        diagnosis: why, and what to do.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


class OutputUnwritable(Exception):
    """The output folder cannot be written; nothing was started.

    Attributes:
        full: there is no space left, as opposed to no right or no folder.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.full = error.errno in (errno.ENOSPC, errno.EDQUOT)


class WrongStatus(Exception):
    """What was asked for cannot be done to a run in its status.

    Attributes:
        experiment_id: which run.
        status: where it stands.
    """

    def __init__(self, experiment_id: str, status: str) -> None:
        super().__init__(experiment_id)
        self.experiment_id, self.status = experiment_id, status


class HasEnded(WrongStatus):
    """A run that has ended cannot be cancelled."""


class StillLive(WrongStatus):
    """A run that has not ended cannot be forgotten."""


class NotRetriable(WrongStatus):
    """A run that goes on or has succeeded cannot be tried again."""


class InputUnwritable(OutputUnwritable):
    """The input folder cannot be written; it holds what it held before."""


class InvalidInputName(Exception):
    """No data set can have that name."""


class InputTooLarge(Exception):
    """A data set has more bytes than may be sent.

    Attributes:
        limit: that many bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class InputEmpty(Exception):
    """A data set was sent without content."""


class InputExists(Exception):
    """There is a data set of that name, and nothing says that it may be replaced."""


class InputChanged(Exception):
    """The data set that was to be replaced is not the one that is there."""


class FolderTaken(Exception):
    """The folder of that name holds something that is not of this run."""


class StoreUnavailable(Exception):
    """The database cannot be used now. A transaction was applied completely or not at all.

    Attributes:
        denied: it refuses our user; the settings have to be corrected.
        away: it does not answer at all, so an immediate second call would time out too.
    """

    def __init__(self, message: str, *, denied: bool = False, away: bool = False) -> None:
        super().__init__(message)
        self.denied, self.away = denied, away


class SchemaError(Exception):
    """The database holds tables that must not be changed; the message says which and why."""
