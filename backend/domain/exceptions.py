"""The errors of the domain. `str(error)` says what is wrong and what to send instead.

The web layer shows that message as it is, and only chooses the status of the response. The message
of StoreUnavailable is the exception: it may name a database user or a host, and is for the log.
"""

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backend.domain.attempt import Diagnosis
from backend.domain.catalogue import AUTOENCODER
from backend.domain.identifiers import invisible_character
from backend.domain.parameter import shown_value

if TYPE_CHECKING:
    from backend.domain.experiment import Parameters

MAX_NAMES = 20  # names of data sets that a message lists


class UnknownExperiment(Exception):
    """No experiment has this id, or these ids.

    Attributes:
        experiment_ids: those that do not exist.
    """

    def __init__(self, *experiment_ids: str) -> None:
        super().__init__(f"There is no experiment {', '.join(map(repr, experiment_ids))}.")
        self.experiment_ids = experiment_ids


class UnknownFile(Exception):
    """The file does not exist, or is not one that the API shows.

    Attributes:
        path: what was asked for, relative to the folder.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            f"There is no file {path!r} here; the list of files shows those that exist."
        )
        self.path = path


class TooManyFiles(Exception):
    """The folder of an experiment holds more files than one archive may contain.

    Attributes:
        limit: the largest number of files.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The folder holds more than {limit} files: download the ones you need one by one."
        )
        self.limit = limit


class UnknownAttempt(Exception):
    """The experiment has had no attempt with this number.

    Attributes:
        experiment_id: the id of the experiment.
        number: the attempt that was asked for.
        last: the number of the current attempt.
    """

    def __init__(self, experiment_id: str, number: int, last: int) -> None:
        super().__init__(f"{experiment_id!r} has no attempt {number}; its last one is {last}.")
        self.experiment_id, self.number, self.last = experiment_id, number, last


class UnknownDataset(Exception):
    """The input folder holds no data set with this name.

    Attributes:
        name: what was asked for.
        names: the data sets that exist.
        problem: the message without the name of the field, to stand beside that field.
    """

    def __init__(self, name: str, names: Sequence[str]) -> None:
        known = ", ".join(names[:MAX_NAMES]) or "no data sets"
        self.problem = f"is not a file of the input folder, which holds {known}."
        if invisible := invisible_character(name):
            self.problem = (
                f"contains {invisible}, which cannot be seen; the input folder holds {known}."
            )
        super().__init__(f"dataset {self.problem}")
        self.name, self.names = name, names


class UnknownModel(Exception):
    """The catalogue has no model with this name.

    Attributes:
        name: what was asked for.
    """

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(
            f"There is no model {shown_value(name)}; there is {', '.join(names[:MAX_NAMES])}."
        )
        self.name = name


class OtherParameters(Exception):
    """The id belongs to an experiment with other parameters.

    Attributes:
        experiment_id: that id.
        parameters: the parameters of the existing experiment.
    """

    def __init__(self, experiment_id: str, parameters: "Parameters") -> None:
        chosen = [f"{name} {_shown(value)}" for name, value in parameters.values.items()]
        if parameters.model != AUTOENCODER:
            chosen.insert(0, f"model {parameters.model}")
        if parameters.size:
            chosen.append(f"size {parameters.size}")
        super().__init__(
            f"experiment_id {experiment_id!r} was submitted before with {', '.join(chosen)} and "
            f"dataset {parameters.dataset or 'all'}: send those again to get that experiment, or "
            "choose another experiment_id."
        )
        self.experiment_id, self.parameters = experiment_id, parameters


class SubmissionRefused(Exception):
    """The launcher will never start the Job; the experiment has failed.

    Attributes:
        diagnosis: why, and what to do.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(f"{diagnosis.message} {diagnosis.remedy}")
        self.diagnosis = diagnosis


class FolderTaken(Exception):
    """The output folder of this name holds files that do not belong to the experiment."""

    def __init__(self) -> None:
        super().__init__(
            "The output folder of that experiment_id holds other files, which a new experiment "
            "would overwrite: choose another experiment_id, or move the folder away."
        )


class OutputOfAnother(Exception):
    """The output folder belongs to another experiment than the one to be deleted with it."""

    def __init__(self) -> None:
        super().__init__(
            "The output folder belongs to another experiment: its run.json has another uid. "
            "Nothing was deleted. Delete this experiment without outputs=true; its folder stays."
        )


class _FolderUnwritable(Exception):
    """A folder cannot be written.

    Attributes:
        full: no space is left, as opposed to a missing folder or permission.
        why: the operating system's words, such as "Permission denied".
    """

    def __init__(self, error: OSError, folder: str, outcome: str) -> None:
        self.full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        self.why = error.strerror or str(error)
        super().__init__(f"The {folder} folder cannot be written ({self.why}); {outcome}.")


class OutputUnwritable(_FolderUnwritable):
    """The output folder cannot be written; nothing was started."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error, "output", "nothing was started")


class OutputMissing(OutputUnwritable):
    """The output folder itself is gone, for example because its disk is; nothing was changed."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.args = (
            f"The output folder (OUTPUT_DIR) is missing ({self.why}), and nothing was changed. "
            "Mount or restore it, or create it again; then send the same again.",
        )


class OutputNotDeleted(OutputUnwritable):
    """The folder of an experiment cannot be removed, or not be marked; the record is kept."""

    def __init__(self, error: OSError, *, outputs: bool) -> None:
        super().__init__(error)
        task = "removed completely" if outputs else "marked as deleted"
        left = f"; {error.filename!r} is left" if outputs and error.filename else ""
        self.args = (
            f"The output folder of the experiment cannot be {task} ({self.why}){left}. The record "
            "of the experiment was kept: free space or correct the permissions of the output "
            "folder, then delete the experiment again.",
        )


class InputUnwritable(_FolderUnwritable):
    """The input folder cannot be written; its content is unchanged."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error, "input", "nothing was changed")


class WrongStatus(Exception):
    """The experiment's status does not allow what was asked for.

    Attributes:
        experiment_id: the id of the experiment.
        status: its status.
    """

    def __init__(self, experiment_id: str, status: str, message: str) -> None:
        super().__init__(message)
        self.experiment_id, self.status = experiment_id, status


class HasEnded(WrongStatus):
    """An experiment that has ended cannot be cancelled."""

    def __init__(self, experiment_id: str, status: str) -> None:
        super().__init__(experiment_id, status, f"{experiment_id!r} has {status} already.")


class StillLive(WrongStatus):
    """An experiment that has not ended cannot be deleted."""

    def __init__(self, experiment_id: str, status: str) -> None:
        message = f"{experiment_id!r} is {status}: cancel it first, or wait until it has ended."
        super().__init__(experiment_id, status, message)


class NotRetriable(WrongStatus):
    """An experiment that is live or has succeeded cannot be retried."""

    def __init__(self, experiment_id: str, status: str) -> None:
        message = (
            f"{experiment_id!r} is {status}: only a failed or cancelled experiment can be retried, "
            "or a queued one with a diagnosis."
        )
        super().__init__(experiment_id, status, message)


class StillEnding(NotRetriable):
    """The attempt that a retry replaces is cancelled, and has not ended yet."""

    def __init__(self, experiment_id: str, status: str) -> None:
        super().__init__(experiment_id, status)
        self.args = (
            f"The attempt of {experiment_id!r} that waited is cancelled, but has not ended yet: "
            "retry again in a few seconds.",
        )


class BeingDeleted(NotRetriable):
    """An experiment whose folder is being removed cannot be retried."""

    def __init__(self, experiment_id: str, status: str) -> None:
        super().__init__(experiment_id, status)
        self.args = (f"{experiment_id!r} is being deleted with its folder: it cannot be retried.",)


class InvalidInputName(Exception):
    """A data set cannot have this name.

    Attributes:
        name: what was asked for.
    """

    def __init__(self, name: str, suffixes: Sequence[str], max_bytes: int) -> None:
        invisible = invisible_character(name)
        reason = f" It contains {invisible}, which cannot be seen." if invisible else ""
        super().__init__(
            f"{name!r} cannot be the name of a data set: send a plain file name of at most "
            f"{max_bytes} bytes that ends in {', '.join(suffixes)} and does not begin with '.'."
            f"{reason}"
        )
        self.name = name


class InputTooLarge(Exception):
    """A data set is larger than the server accepts.

    Attributes:
        limit: the largest size in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"A data set may have {limit} bytes at most (INPUT_MAX_BYTES).")
        self.limit = limit


class InputEmpty(Exception):
    """A data set was sent without content."""

    def __init__(self) -> None:
        super().__init__("The body is empty: send the file as the body.")


class InputUnusable(Exception):
    """A data set claims sizes that no trainer could use; nothing was changed."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name!r} cannot be a data set: {problem}.")


class InputBusy(Exception):
    """Another process holds the lock of the input folder; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(
            "Another upload is being completed and does not end; nothing was changed. Send the "
            "file again later."
        )


class InputExists(Exception):
    """A data set of this name exists, and the request does not ask to replace it.

    Attributes:
        name: its name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is a data set {name!r} already: send If-Match with its ETag, or "
            "?overwrite=true, to replace it, or choose another name."
        )
        self.name = name


class InputChanged(Exception):
    """The data set to replace is not the version that the request names.

    Attributes:
        name: its name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not the version that If-Match names: GET /inputs shows the current one."
        )
        self.name = name


class StoreUnavailable(Exception):
    """The database cannot be used now. A transaction was applied completely or not at all.

    Attributes:
        denied: it refuses our user; the settings have to be corrected.
        away: it does not answer at all, so an immediate second call would time out too.
        cause: a sentence for clients if it can be read but not written; otherwise empty.
        undecodable: it answers, but a text in it is damaged.
    """

    def __init__(
        self,
        message: str,
        *,
        denied: bool = False,
        away: bool = False,
        cause: str = "",
        undecodable: bool = False,
    ) -> None:
        super().__init__(message)
        self.denied, self.away, self.cause = denied, away, cause
        self.undecodable = undecodable


class SchemaError(Exception):
    """The database holds tables that must not be changed; the message says which and why."""


def _shown(value: object) -> str:
    return shown_value(value) if isinstance(value, str) else str(value)


class WrongOwner(SchemaError):
    """The database belongs to a server whose Jobs run elsewhere: its experiments would be ended."""

    def __init__(self, stored: str, current: str) -> None:
        super().__init__(
            f"The database belongs to another server ({stored}). This one ({current}) would end "
            "its experiments. Give this server a database of its own (DB_NAME, or DATA_DIR), or "
            "stop the other server and move the database here with the command `claim` "
            "(docs/operations.md)."
        )
