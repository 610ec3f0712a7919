"""`ls`, `show`, `logs`, `files`, `get`, `compare` and `models`: what there is."""

import argparse
import sys
from pathlib import Path
from typing import Any

from hello_flask.client import Client
from hello_flask.command.common import FAILED, Subparsers, add, add_id, follow
from hello_flask.command.terminal import Terminal, clean, size_text, value_text
from hello_flask.errors import HelloFlaskError
from hello_flask.listing import flat

COLUMNS = ("experiment_id", "model", "status", "attempt", "created_at")
ROWS = 50
SHOWN = (
    *("model", "dataset", "size", "priority", "attempt", "job"),
    *("created_at", "started_at", "finished_at"),
)
PEAKS = ("peak_cpu", "peak_memory", "peak_gpu", "peak_gpu_memory")


def register(commands: Subparsers) -> None:
    """Add the commands."""
    parser = add(commands, "ls", list_experiments, "list experiments, newest first")
    parser.add_argument("--sort", metavar="FIELD", help="such as -created_at, metrics.loss.min")
    parser.add_argument(
        "--where",
        metavar="COMPARISON",
        action="append",
        default=[],
        help="only those for which it holds, such as 'learning_rate<0.01'; may be repeated",
    )
    parser.add_argument("--status", metavar="STATUS", help="only these, separated by commas")
    parser.add_argument("--model", metavar="MODEL", help="only those of a model")
    parser.add_argument("-q", metavar="TEXT", help="only ids that contain a text")
    parser.add_argument("-n", metavar="N", type=positive, default=ROWS, help=f"at most N ({ROWS})")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument(
        "--columns", metavar="NAMES", default="", help="further columns: parameters.epoch,reason"
    )
    add_id(add(commands, "show", show, "show an experiment"))
    parser = add(commands, "logs", logs, "print the log of an experiment")
    add_id(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    parser.add_argument("-n", "--tail", metavar="N", type=positive, help="only the last N lines")
    parser.add_argument("--attempt", metavar="N", type=positive, help="of an earlier attempt")
    parser.add_argument(
        "--worker", metavar="RANK", type=int, help="of one of several nodes; 0 by default"
    )
    add_id(add(commands, "files", files, "list the files of an experiment"))
    parser = add(commands, "get", get, "download a file of an experiment, or all as ID.zip")
    add_id(parser)
    parser.add_argument("file", metavar="FILE", nargs="?", help="as `files` names it")
    add_target(parser)
    add_id(add(commands, "compare", compare, "show experiments side by side"), several=True)
    parser = add(commands, "models", models, "list the models and their parameters")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="only this one")


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a download is written."""
    parser.add_argument("-o", "--output", metavar="PATH", help="a file or folder; - to print it")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def target_of(arguments: argparse.Namespace, name: str) -> Path:
    """Return the file that a download is written to.

    Raises:
        HelloFlaskError: it exists, and `--force` was not given.
    """
    target = Path(arguments.output or ".")
    if target.is_dir():
        target = target / name
    if target.exists() and not arguments.force and target.is_file():
        raise HelloFlaskError(f"{target} exists: give --force to replace it, or -o another file.")
    return target


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not (text.isascii() and text.isdigit() and int(text[:12]) > 0 and len(text) < 12):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def list_experiments(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print experiments as a table."""
    found = client.experiments(
        status=arguments.status,
        model=arguments.model,
        q=arguments.q,
        where=arguments.where,
        sort=arguments.sort,
        limit=None if arguments.all else arguments.n,
    )
    if terminal.as_json:
        terminal.json([each.data for each in found])
        return 0
    sorted_by = (arguments.sort or "").removeprefix("-")
    asked = [name.strip() for name in arguments.columns.split(",") if name.strip()]
    columns = list(dict.fromkeys([*COLUMNS, *filter(None, [sorted_by]), *asked]))
    rows = [dict(flat(each.data)) for each in found]
    terminal.table(columns, [[_cell(row, name) for name in columns] for row in rows])
    if not arguments.all and len(found) == arguments.n:
        terminal.note(f"These are the first {arguments.n}; --all lists all.")
    return 0


def _cell(row: dict[str, Any], name: str) -> Any:
    return row.get(name, row.get(f"parameters.{name}", row.get(f"diagnosis.{name}")))


def show(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print what is known of an experiment."""
    experiment = client.experiment(arguments.id)
    data = experiment.data
    if terminal.as_json:
        terminal.json(data)
        return 0
    status = str(data.get("status"))
    rows = [("experiment_id", experiment.id), ("status", status)]
    rows += [(name, value_text(data[name])) for name in SHOWN if data.get(name) is not None]
    for name, value in (data.get("parameters") or {}).items():
        rows.append((f"parameters.{name}", value_text(value)))
    progress = data.get("progress") or {}
    if queue := data.get("queue"):
        ahead = ", ".join(queue.get("ahead") or []) or "nothing"
        rows.append(("queue", f"{queue.get('position')} (ahead: {ahead})"))
    rows.append(("epochs", f"{progress.get('epoch', 0)}/{progress.get('epochs', data['epoch'])}"))
    for name, value in (data.get("metrics") or {}).items():
        rows.append((f"metrics.{name}", value_text(value)))
    rows += [(name, _peak(data, name)) for name in PEAKS if data.get(name) is not None]
    rows += [("problem", experiment.problem)] if experiment.problem else []
    rows += [("warning", str(one.get("message"))) for one in data.get("warnings") or []]
    size = max(len(name) for name, _ in rows)
    for name, value in rows:
        text = clean(value)
        print(f"{name:{size}}  {terminal.coloured(text, status if name == 'status' else '')}")
    return 0


def _peak(data: dict[str, Any], name: str) -> str:
    value = data[name]
    is_size = name.endswith("memory") and isinstance(value, int | float)
    return size_text(value) if is_size else value_text(value)


def logs(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the log of an experiment."""
    experiment = client.experiment(arguments.id)
    if arguments.follow:
        follow(
            experiment,
            terminal,
            attempt=arguments.attempt,
            tail=arguments.tail,
            worker=arguments.worker,
        )
        is_current = arguments.attempt in (None, experiment.data["attempt"])
        ended = experiment.refresh().data["status"] if is_current else "succeeded"
        return FAILED if ended in ("failed", "cancelled") else 0
    text = experiment.log(arguments.attempt, tail=arguments.tail, worker=arguments.worker)
    if not terminal.as_json:
        sys.stdout.write(text)
        return 0
    for number, line in enumerate(text.splitlines(), start=1):
        terminal.json({"line": number, "text": line} if arguments.tail is None else {"text": line})
    return 0


def files(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the files of an experiment."""
    found = client.experiment(arguments.id).files()
    if terminal.as_json:
        terminal.json(found)
        return 0
    rows = [(each["path"], size_text(each["size"]), each["modified"]) for each in found]
    terminal.table(("path", "size", "modified"), rows)
    return 0


def get(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Download a file of an experiment, or all of them."""
    experiment = client.experiment(arguments.id)
    path = arguments.file
    if arguments.output == "-":
        experiment.write_to(sys.stdout.buffer, path)
        return 0
    name = path.rpartition("/")[2] if path else f"{experiment.id}.zip"
    target = target_of(arguments, name)
    with terminal.transfer(name) as progress:
        saved = experiment.download(path, target, progress=progress)
    return report_saved(saved, terminal)


def report_saved(path: Path, terminal: Terminal) -> int:
    """Print which file was written."""
    size = path.stat().st_size
    if terminal.as_json:
        terminal.json({"path": str(path), "size": size})
    else:
        terminal.line(str(path))
        terminal.note(size_text(size))
    return 0


def compare(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print experiments side by side: what differs between them, and their results."""
    document = client.compare(arguments.ids)
    if terminal.as_json:
        terminal.json(document)
        return 0
    found = document["experiments"]
    parameters = [each.get("parameters") or {} for each in found]
    names = list(dict.fromkeys(name for values in parameters for name in values))
    rows = [("model", *(each.get("model") for each in found))]
    rows += [
        (name, *(values.get(name) for values in parameters))
        for name in names
        if len({repr(values.get(name)) for values in parameters}) > 1 or len(found) == 1
    ]
    rows.append(("status", *(each.get("status") for each in found)))
    metrics = list(dict.fromkeys(name for each in found for name in each.get("final") or {}))
    for name in metrics:
        for label, key in (("last", "final"), ("min", "lowest"), ("max", "highest")):
            values = ((each.get(key) or {}).get(name) or {} for each in found)
            rows.append((f"{name}.{label}", *(one.get("value") for one in values)))
    terminal.table(("experiment_id", *(clean(each["experiment_id"]) for each in found)), rows)
    return 0


def models(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the models of the catalogue with their parameters."""
    found = [client.model(arguments.model)] if arguments.model else client.models()
    if terminal.as_json:
        terminal.json(found)
        return 0
    for each in found:
        terminal.line(f"{each['name']}: {each.get('problem') or each.get('description', '')}")
        for name, schema in (each.get("parameters") or {}).items():
            default = schema.get("default")
            needed = "required" if default is None else f"default {value_text(default)}"
            about = schema.get("description", "")
            terminal.line(f"  {name} ({schema.get('type')}, {needed}) {about}".rstrip())
    return 0
