"""`data put`, `ls`, `get` and `rm`: the data sets."""

import argparse
from pathlib import Path

from hello_flask.client import Client
from hello_flask.command.common import FAILED, Subparsers, add
from hello_flask.command.reading import add_target, report_saved, target_of
from hello_flask.command.terminal import Terminal, size_text
from hello_flask.errors import Problem


def register(commands: Subparsers) -> None:
    """Add the command and those below it."""
    about = "list, upload, download and delete data sets"
    parser = commands.add_parser("data", help=about, description=about)
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    add(below, "ls", list_inputs, "list the data sets")
    parser = add(below, "put", put, "upload files as data sets")
    parser.add_argument("files", metavar="FILE", nargs="+", help="a .npz, .npy or .csv file")
    parser.add_argument("--name", metavar="NAME", help="of the data set; by default of the file")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing data set")
    parser = add(below, "get", get, "download a data set")
    parser.add_argument("name", metavar="NAME", help="the data set")
    add_target(parser)
    parser = add(below, "rm", remove, "delete data sets")
    parser.add_argument("names", metavar="NAME", nargs="+", help="the data sets")
    parser.add_argument(
        "--force", action="store_true", help="delete them although live experiments use them"
    )


def list_inputs(client: Client, _arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the data sets."""
    found = client.inputs.list()
    if terminal.as_json:
        terminal.json(found)
        return 0
    rows = [(each["name"], size_text(each["size"]), each["modified"]) for each in found]
    terminal.table(("name", "size", "modified"), rows)
    return 0


def put(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Upload files."""
    if arguments.name and len(arguments.files) > 1:
        terminal.note("error: --name is for one file alone.")
        return 2
    for file in arguments.files:
        with terminal.transfer(Path(file).name) as progress:
            found = client.inputs.put(
                file, arguments.name, overwrite=arguments.overwrite, progress=progress
            )
        if terminal.as_json:
            terminal.json(found)
        else:
            terminal.line(f"{found['name']}: {size_text(found['size'])}")
    return 0


def get(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Download a data set."""
    name = Path(arguments.name).name
    target = target_of(arguments, name)
    with terminal.transfer(name) as progress:
        saved = client.inputs.get(arguments.name, target, progress=progress)
    return report_saved(saved, terminal)


def remove(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Delete data sets; one that is refused does not keep others from it."""
    code = 0
    for name in arguments.names:
        try:
            client.inputs.delete(name, force=arguments.force)
        except Problem as error:
            terminal.note(f"error: {error}")
            code = FAILED
            continue
        if terminal.as_json:
            terminal.json({"name": name, "deleted": True})
        else:
            terminal.line(f"{name}: deleted")
    return code
