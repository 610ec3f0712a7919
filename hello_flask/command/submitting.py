"""`submit`: start an experiment, and wait for it."""

import argparse

from hello_flask.client import Client
from hello_flask.command.common import Subparsers, add, add_model, ending, follow, wait
from hello_flask.command.terminal import Terminal


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add(commands, "submit", submit, "start an experiment")
    add_model(parser, "a parameter of the model; may be repeated", "the experiment")
    parser.add_argument("--dataset", metavar="NAME", help="a data set; all of them by default")
    parser.add_argument("--size", metavar="NAME", help="one of the sizes of the model")
    parser.add_argument(
        "--priority", choices=("low", "normal", "high"), help="among those that wait (normal)"
    )
    parser.add_argument("--wait", action="store_true", help="wait for its end: exit code 0 or 1")
    parser.add_argument("--follow", action="store_true", help="print its log, and wait for its end")


def submit(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Submit an experiment, and wait for it if that is asked for."""
    experiment = client.submit(
        arguments.model,
        arguments.id,
        dataset=arguments.dataset,
        size=arguments.size,
        priority=arguments.priority,
        parameters=dict(arguments.parameter),
    )
    if not (arguments.wait or arguments.follow):
        if terminal.as_json:
            terminal.json(experiment.data)
        else:
            terminal.line(experiment.id)
        terminal.note(f"{experiment.data.get('message')}: {experiment.data.get('ui_url')}")
        return 0
    terminal.note(f"{experiment.id}: {experiment.data.get('message')}")
    if arguments.follow and not terminal.as_json:
        follow(experiment, terminal)
    return (
        wait(experiment, terminal) if experiment.refresh().is_live else ending(experiment, terminal)
    )
