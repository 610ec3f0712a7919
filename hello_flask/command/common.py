"""What the commands share: their options, and waiting for an experiment."""

import argparse
from collections.abc import Callable
from typing import Any, Protocol

from hello_flask.client import Client
from hello_flask.command.terminal import Terminal, bar, value_text
from hello_flask.errors import ExperimentFailed
from hello_flask.experiment import Experiment

Run = Callable[[Client, argparse.Namespace, Terminal], int]
FAILED = 1  # the experiment has not succeeded


class Subparsers(Protocol):
    """What argparse's `add_subparsers` returns, as far as it is used here."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Return the parser of a new command."""


def add(commands: Subparsers, name: str, run: Run, about: str) -> argparse.ArgumentParser:
    """Add a command with the options of all, and return its parser.

    Args:
        commands: the commands so far.
        name: what the user types.
        run: carries it out, and returns its exit code.
        about: one line for `--help`.
    """
    parser = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print JSON, one document a line")
    parser.add_argument("--url", help="the server (HELLO_FLASK_URL, http://127.0.0.1:31112)")
    parser.set_defaults(run=run)
    return parser


def add_id(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the argument ID, or several of them as `ids`."""
    if several:
        parser.add_argument("ids", metavar="ID", nargs="+", help="the experiments")
    else:
        parser.add_argument("id", metavar="ID", help="the experiment")


def add_model(parser: argparse.ArgumentParser, about_parameter: str, what: str) -> None:
    """Add the model, its parameters and the id of what is started.

    Args:
        parser: of the command.
        about_parameter: the help for `-p`.
        what: is started, such as "the experiment".
    """
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a model (autoencoder)")
    parser.add_argument(
        "-p",
        "--parameter",
        metavar="NAME=VALUE",
        action="append",
        type=pair,
        default=[],
        help=about_parameter,
    )
    parser.add_argument("--id", metavar="ID", help=f"names {what}; made up by default")


def pair(text: str) -> tuple[str, str]:
    """Return the name and the value of `NAME=VALUE`; the server knows the type of each."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as learning_rate=0.001")
    return name.strip(), value


def follow(
    experiment: Experiment,
    terminal: Terminal,
    *,
    attempt: int | None = None,
    tail: int | None = None,
    worker: int | None = None,
) -> None:
    """Print the log of an attempt, by default the current one, until it has ended."""
    try:
        for line in experiment.follow_lines(attempt, tail=tail, worker=worker):
            if not line.number:
                terminal.state(line.text)
            elif terminal.as_json:
                terminal.json({"line": line.number, "text": line.text})
            else:
                terminal.line(line.text)
    except KeyboardInterrupt:
        terminal.note(goes_on(experiment))
        raise


def wait(experiment: Experiment, terminal: Terminal) -> int:
    """Wait until an experiment has ended, show how far it is, and return the exit code."""
    before = None
    try:
        for _ in experiment.watch():
            state = state_text(experiment)
            if state != before and experiment.is_live:
                before = state
                terminal.note(f"{experiment.id}: {state}{_why(experiment)}")
            if experiment.is_live:
                terminal.state(progress_text(experiment))
    except KeyboardInterrupt:
        terminal.note(goes_on(experiment))
        raise
    except ExperimentFailed as error:  # deleted by somebody else
        terminal.note(str(error))
        return FAILED
    return ending(experiment, terminal)


def ending(experiment: Experiment, terminal: Terminal) -> int:
    """Print how an experiment has ended, and return the exit code."""
    status = experiment.data["status"]
    metrics = experiment.data.get("metrics") or {}
    figures = [f"{name} {value_text(value)}" for name, value in metrics.items()]
    about = _why(experiment) or (f" ({', '.join(figures)})" if figures else "")
    if terminal.as_json:
        terminal.json(experiment.data)
    terminal.note(f"{experiment.id}: {status}{about}")
    return 0 if status == "succeeded" else FAILED


def state_text(experiment: Experiment) -> str:
    """Return the status of an experiment, and its place in the queue if it is in one."""
    queue = experiment.data.get("queue")
    place = f", number {queue['position']} in the queue" if queue else ""
    return f"{experiment.data['status']}{place}"


def progress_text(experiment: Experiment) -> str:
    """Return how far an experiment is, with a progress bar and its last metrics."""
    data = experiment.data
    progress = data.get("progress") or {}
    done, whole = progress.get("epoch"), progress.get("epochs")
    metrics = data.get("metrics") or {}
    figures = [f"{name} {value_text(value)}" for name, value in metrics.items() if name != "epoch"]
    epochs = f"{bar(done, whole)} {done}/{whole}" if isinstance(done, int) and whole else ""
    return "  ".join([experiment.id, data["status"], epochs, *figures[:3]])


def goes_on(experiment: Experiment) -> str:
    """Return what to say when a user stops waiting for an experiment."""
    return (
        f"{experiment.id} goes on: hello-flask logs -f {experiment.id} follows it again, "
        f"hello-flask cancel {experiment.id} ends it."
    )


def _why(experiment: Experiment) -> str:
    return f": {experiment.problem}" if experiment.problem else ""
