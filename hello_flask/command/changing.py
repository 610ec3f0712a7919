"""`cancel`, `retry` and `rm`: what is done to experiments."""

import argparse
from collections.abc import Callable

from hello_flask.client import Client
from hello_flask.command.common import FAILED, Subparsers, add, add_id, wait
from hello_flask.command.terminal import Terminal
from hello_flask.errors import Problem
from hello_flask.experiment import Experiment


def register(commands: Subparsers) -> None:
    """Add the commands."""
    add_id(add(commands, "cancel", cancel, "cancel experiments"), several=True)
    parser = add(commands, "retry", retry, "start the next attempt of failed experiments")
    add_id(parser, several=True)
    parser.add_argument("--wait", action="store_true", help="wait for their ends: exit code 0 or 1")
    parser = add(commands, "rm", remove, "delete experiments that have ended")
    add_id(parser, several=True)
    parser.add_argument("--outputs", action="store_true", help="delete their output folders too")


def cancel(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Cancel experiments."""
    return _each(client, arguments, terminal, Experiment.cancel)


def retry(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Retry experiments, and wait for them if that is asked for."""
    code = _each(client, arguments, terminal, Experiment.retry)
    if arguments.wait:
        for experiment_id in arguments.ids:
            code = max(code, wait(client.experiment(experiment_id), terminal))
    return code


def remove(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Delete experiments."""

    def delete(experiment: Experiment) -> Experiment:
        experiment.delete(outputs=arguments.outputs)
        experiment.data = {"experiment_id": experiment.id, "deleted": True}
        return experiment

    return _each(client, arguments, terminal, delete)


def _each(
    client: Client,
    arguments: argparse.Namespace,
    terminal: Terminal,
    change: Callable[[Experiment], Experiment],
) -> int:
    """Change experiments, and report each; one that is refused does not keep others from it."""
    code = 0
    for experiment_id in arguments.ids:
        try:
            experiment = change(client.named(experiment_id))
        except Problem as error:
            terminal.note(f"error: {experiment_id}: {error}")
            code = FAILED
            continue
        if terminal.as_json:
            terminal.json(experiment.data)
        else:
            terminal.line(f"{experiment.id}: {experiment.data.get('status', 'deleted')}")
    return code
