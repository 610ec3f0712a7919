"""Exit codes and what they mean."""

from backend.domain.attempt import Diagnosis

EXIT_UNUSABLE_INPUT = 2  # the trainer's word for: starting it again cannot help


MAX_QUOTE = 500  # characters of somebody else's message that go into ours


def quote(text: str | None) -> str:
    """Give somebody else's message on one line, cut to a length that fits a sentence."""
    line = " ".join((text or "").split())
    return line if len(line) <= MAX_QUOTE else line[: MAX_QUOTE - 1] + "…"


def exit_code(code: int | None, message: str, log: str) -> Diagnosis:
    """Say what a trainer's exit code means.

    `message` is the end of what it printed, `log` says where the rest stands.
    """
    if code == EXIT_UNUSABLE_INPUT:
        return Diagnosis(
            "input_unusable",
            f"The trainer cannot use its input: {message or 'it printed nothing'}",
            "Mend the input and retry, or start a run with other parameters.",
        )
    return Diagnosis(
        "trainer_failed",
        f"The trainer ended with exit code {code}: {message or 'it printed nothing'}",
        f"Read its log: {log}.",
    )
