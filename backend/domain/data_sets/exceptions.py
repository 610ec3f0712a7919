"""What can be wrong with data sets. Each exception carries its sentence."""

from collections.abc import Sequence

from backend.domain.data_sets.content import Fault


class InputUnreadable(Exception):
    """No model can read a file that is uploaded; nothing was changed.

    Attributes:
        fault: why.
    """

    def __init__(self, name: str, fault: Fault) -> None:
        super().__init__(
            f"No model can read {name!r}: {fault.message}. Correct the file, or send "
            "?validate=false to store it as it is."
        )
        self.fault = fault


class InputInUse(Exception):
    """Live experiments use a data set that is to be deleted; nothing was changed.

    Attributes:
        experiments: their ids, the first ones if there are many.
    """

    def __init__(self, name: str, experiments: Sequence[str], *, is_complete: bool = True) -> None:
        users = ", ".join(experiments)
        if not is_complete:
            users = f"{users} and more"
        super().__init__(
            f"{name!r} is used by {users}, which have not ended: wait for "
            "them, cancel them, or send ?force=true to delete it nevertheless."
        )
        self.experiments = experiments


class NoImages(Exception):
    """A data set holds no images that can be drawn."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} holds no images that can be drawn.")


class InputsUnusable(Exception):
    """The chosen files cannot be used together; nothing was started.

    Attributes:
        problem: the message without the name of the field, to stand beside that field.
    """

    def __init__(self, problem: str, *, is_every: bool) -> None:
        chosen = "stands for every file of the input folder" if is_every else "names files"
        self.problem = (
            f"{chosen} that cannot be used: {problem}. Choose with dataset: send the name of one "
            "file, or of several that fit together (GET /inputs lists them)."
        )
        super().__init__(f"dataset {self.problem}")
