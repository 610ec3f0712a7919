"""What can be wrong with how an experiment is executed. Each exception carries its sentence."""


class UnknownWorker(Exception):
    """The experiment has no worker with this rank."""

    def __init__(self, experiment_id: str, rank: int, nodes: int) -> None:
        super().__init__(
            f"{experiment_id!r} has no worker {rank}; its last one is {nodes - 1}."
            if nodes > 1
            else f"{experiment_id!r} has one worker only, whose number is 0."
        )
