"""What the exit codes of a trainer mean."""

from backend.domain.attempt import Diagnosis
from backend.files.terminal.screen import shown

EXIT_UNUSABLE_INPUT = 2  # a trainer exits with it if starting again cannot help
EXIT_INPUT_CHANGED = 66  # EX_NOINPUT: a file that the experiment began with has changed or is gone
EXITS_FOR_GOOD = (EXIT_UNUSABLE_INPUT, EXIT_INPUT_CHANGED)
EXIT_PEER_LOST = 69  # EX_UNAVAILABLE: another worker of a gang has ended, which is to blame
EXIT_KILLED = 137  # 128 + SIGKILL
MEMORY_HINT = (
    "It was killed, which happens most often because memory ran out: train on less data, or make "
    "more memory available. "
)
MAX_QUOTE = 500  # characters of a foreign message that a sentence of ours quotes


def quote(text: str | None) -> str:
    """Return a foreign message on one line, cut to MAX_QUOTE characters."""
    line = _on_one_line(text)
    return line if len(line) <= MAX_QUOTE else line[: MAX_QUOTE - 1] + "…"


def quote_end(output: str | None) -> str:
    """Return the end of what a program has printed, on one line, as a terminal shows it."""
    line = _on_one_line(output)
    return line if len(line) <= MAX_QUOTE else "…" + line[1 - MAX_QUOTE :]


def _on_one_line(text: str | None) -> str:
    lines = (text or "").encode(errors="replace").split(b"\n")
    return " ".join(b" ".join(map(shown, lines)).decode(errors="replace").split())


def diagnose_exit_code(code: int | None, message: str | None, log: str) -> Diagnosis:
    """Return the diagnosis of a trainer's exit code.

    Args:
        code: the exit code.
        message: the end of the trainer's output.
        log: where to read all of its output.
    """
    message = quote_end(message)
    if code == EXIT_UNUSABLE_INPUT:
        return Diagnosis(
            "input_unusable",
            f"The trainer cannot use its input: {message or 'it printed nothing'}",
            "Correct the input and retry, or start an experiment with other parameters.",
        )
    if code == EXIT_INPUT_CHANGED:
        return Diagnosis(
            "input_changed",
            "A file that this experiment uses is not the one that it was submitted with: "
            f"{message or 'the trainer printed nothing'}",
            "Put the file back and retry, or submit a new experiment with the files of now.",
        )
    hint = MEMORY_HINT if code == EXIT_KILLED else ""
    return Diagnosis(
        "trainer_failed",
        f"The trainer exited with code {code}: {message or 'it printed nothing'}",
        f"{hint}Read its log: {log}.",
    )
