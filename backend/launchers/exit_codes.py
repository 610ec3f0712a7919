"""What the exit codes of a trainer mean."""

from backend.domain.attempt import Diagnosis

EXIT_UNUSABLE_INPUT = 2  # a trainer exits with it if starting again cannot help
MAX_QUOTE = 500  # characters of a foreign message that a sentence of ours quotes


def quote(text: str | None) -> str:
    """Return a foreign message on one line, cut to MAX_QUOTE characters."""
    line = " ".join((text or "").split())
    return line if len(line) <= MAX_QUOTE else line[: MAX_QUOTE - 1] + "…"


def diagnose_exit_code(code: int | None, message: str, log: str) -> Diagnosis:
    """Return the diagnosis of a trainer's exit code.

    Args:
        code: the exit code.
        message: the end of the trainer's output.
        log: where to read all of its output.
    """
    if code == EXIT_UNUSABLE_INPUT:
        return Diagnosis(
            "input_unusable",
            f"The trainer cannot use its input: {message or 'it printed nothing'}",
            "Correct the input and retry, or start an experiment with other parameters.",
        )
    return Diagnosis(
        "trainer_failed",
        f"The trainer exited with code {code}: {message or 'it printed nothing'}",
        f"Read its log: {log}.",
    )
