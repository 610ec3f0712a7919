"""`sweep submit`, `ls`, `show`, `trials`, `pause`, `resume`, `extend`, `cancel` and `rm`."""

import argparse
from collections.abc import Callable
from typing import Any

from hello_flask.client import SWEEP_OPTIONS, Client
from hello_flask.command.common import FAILED, Subparsers, add, add_model
from hello_flask.command.reading import positive
from hello_flask.command.terminal import Terminal, bar, clean, value_text
from hello_flask.errors import Problem, SweepFailed
from hello_flask.sweep import Sweep

ROWS = 50
COLUMNS = (
    *("sweep_id", "model", "status", "submitted", "trials", "method", "metric", "best"),
    *("best_trial", "created_at"),
)
SHOWN = (
    *("model", "dataset", "size", "method", "metric", "goal", "stop", "min_epoch", "eta"),
    *("max_failed", "seed", "parallel", "epochs_spent", "epochs_saved", "created_at"),
    *("finished_at", "ends_at"),
)
_OPTIONS = {  # of `sweep submit`: what each is called in its help, and what it says
    "dataset": ("NAME", "a data set; all of them by default"),
    "size": ("NAME", "one of the sizes of the model"),
    "method": ("NAME", "tpe (by default), random, qmc or grid"),
    "metric": ("NAME", "the objective; by default that of the model"),
    "goal": ("NAME", "minimize or maximize"),
    "trials": ("N", "how many trials (20; all points of a grid)"),
    "parallel": ("N", "how many at the same time; by default what fits"),
    "stop": ("NAME", "asha (by default), median or none"),
    "min_epoch": ("N", "no trial is stopped before this epoch"),
    "eta": ("N", "of each rung of asha, one trial in N goes on (3)"),
    "max_failed": ("N", "so many failures in a row end the sweep (5)"),
    "seed": ("N", "the same seed leads to the same suggestions (0)"),
}


def register(commands: Subparsers) -> None:
    """Add the command and those below it."""
    about = "start, list and change sweeps: many experiments from one search space"
    parser = commands.add_parser("sweep", help=about, description=about)
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_submit(below)
    parser = add(below, "ls", list_sweeps, "list sweeps, newest first")
    parser.add_argument("-n", metavar="N", type=positive, default=ROWS, help=f"at most N ({ROWS})")
    parser.add_argument("--all", action="store_true", help="all of them")
    _add_id(add(below, "show", show, "show a sweep, with its best trial"))
    parser = add(below, "trials", trials, "list the trials of a sweep, the best first")
    _add_id(parser)
    parser.add_argument("--by-number", action="store_true", help="in the order of their numbers")
    parser.add_argument("-n", metavar="N", type=positive, default=ROWS, help=f"at most N ({ROWS})")
    for name, change, about in (
        ("pause", Sweep.pause, "submit no more trials; those that are live go on"),
        ("resume", Sweep.resume, "submit trials again"),
        ("cancel", Sweep.cancel, "end sweeps and their live trials"),
    ):
        _add_id(add(below, name, _changing(change), about), several=True)
    parser = add(below, "extend", extend, "change how many trials a sweep may have")
    _add_id(parser)
    parser.add_argument("--trials", metavar="N", type=positive, help="in all")
    parser.add_argument("--parallel", metavar="N", type=positive, help="at the same time")
    parser = add(below, "rm", remove, "delete sweeps that have ended, with their trials")
    _add_id(parser, several=True)
    parser.add_argument("--outputs", action="store_true", help="delete their output folders too")


def _add_submit(below: Subparsers) -> None:
    parser = add(below, "submit", submit, "start a sweep")
    add_model(
        parser,
        "a parameter of the model: a range such as '0.0001..0.1 log' or '16..64 step 16', one "
        "value, or one of several values if it is repeated",
        "the sweep",
    )
    parser.add_argument(
        "--no-promote",
        dest="promote",
        action="store_const",
        const="false",
        help="asha does not let trials that it has stopped too early go on in the end",
    )
    for name, (value, text) in _OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar=value, help=text)
    parser.add_argument("--wait", action="store_true", help="wait for its end: exit code 0 or 1")


def _add_id(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    if several:
        parser.add_argument("ids", metavar="ID", nargs="+", help="the sweeps")
    else:
        parser.add_argument("id", metavar="ID", help="the sweep")


def submit(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Start a sweep, and wait for it if that is asked for."""
    parameters: dict[str, Any] = {}
    for name, value in arguments.parameter:
        parameters.setdefault(name, []).append(value)
    sweep = client.start_sweep(
        arguments.model,
        arguments.id,
        # A list of one value is that value, or that range.
        parameters=parameters,
        options={name: getattr(arguments, name) for name in SWEEP_OPTIONS},
    )
    terminal.note(f"{sweep.data.get('message')}: {sweep.data.get('ui_url')}")
    if arguments.wait:
        return wait(sweep, terminal)
    if terminal.as_json:
        terminal.json(sweep.data)
    else:
        terminal.line(sweep.id)
    return 0


def wait(sweep: Sweep, terminal: Terminal) -> int:
    """Wait until a sweep has ended, show how far it is, and return the exit code."""
    before = None
    try:
        for _ in sweep.watch():
            state = f"{sweep.data['status']}{f': {sweep.problem}' if sweep.problem else ''}"
            if state != before and sweep.is_live:
                before = state
                terminal.note(f"{sweep.id}: {state}")
            if sweep.is_live:
                terminal.state(_progress(sweep))
    except KeyboardInterrupt:
        terminal.note(
            f"{sweep.id} goes on: hello-flask sweep show {sweep.id} shows it, "
            f"hello-flask sweep cancel {sweep.id} ends it."
        )
        raise
    except SweepFailed as error:  # deleted by somebody else
        terminal.note(str(error))
        return FAILED
    if terminal.as_json:
        terminal.json(sweep.data)
    about = f": {sweep.problem}" if sweep.problem else _best(sweep)
    terminal.note(f"{sweep.id}: {sweep.data['status']}{about}")
    return 0 if sweep.data["status"] == "succeeded" else FAILED


def list_sweeps(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print sweeps as a table."""
    found = client.sweeps(limit=None if arguments.all else arguments.n)
    if terminal.as_json:
        terminal.json([each.data for each in found])
        return 0
    rows = [{**each.data, **_best_columns(each)} for each in found]
    terminal.table(COLUMNS, [[row.get(name) for name in COLUMNS] for row in rows])
    if not arguments.all and len(found) == arguments.n:
        terminal.note(f"These are the first {arguments.n}; --all lists all.")
    return 0


def show(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print what is known of a sweep."""
    sweep = client.sweep(arguments.id)
    data = sweep.data
    if terminal.as_json:
        terminal.json(data)
        return 0
    counts = ", ".join(f"{count} {name}" for name, count in (data.get("counts") or {}).items())
    rows = [("sweep_id", sweep.id), ("status", str(data.get("status")))]
    rows.append(("trials", f"{data.get('submitted')}/{data.get('trials')} ({counts or 'none'})"))
    rows += [(name, value_text(data[name])) for name in SHOWN if data.get(name) is not None]
    rows += [(f"space.{name}", _dimension(each)) for name, each in data.get("space", {}).items()]
    rows += [(f"fixed.{name}", value_text(each)) for name, each in data.get("fixed", {}).items()]
    if best := data.get("best"):
        rows.append(("best", str(best.get("experiment_id"))))
        rows.append((f"best.{data.get('metric')}", value_text(best.get("value"))))
        chosen = best.get("parameters") or {}
        varying = [name for name in chosen if name in data.get("space", {})]
        rows += [(f"best.{name}", value_text(chosen[name])) for name in varying]
    rows += [("problem", sweep.problem)] if sweep.problem else []
    size = max(len(name) for name, _ in rows)
    for name, value in rows:
        text = clean(value)
        print(f"{name:{size}}  {terminal.coloured(text, text if name == 'status' else '')}")
    return 0


def trials(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the trials of a sweep as a table."""
    sweep = client.sweep(arguments.id)
    sort = "number" if arguments.by_number else "value"
    found = sweep.trials(sort=sort, limit=arguments.n)
    if terminal.as_json:
        terminal.json(found)
        return 0
    varying = list(sweep.data.get("space", {}))
    rows = []
    for each in found:
        chosen = each.get("parameters") or {}
        status = each.get("reason") if each.get("reason") == "pruned" else each.get("status")
        epochs = f"{each.get('last_epoch') or 0:g}/{each.get('epochs')}"
        values = [chosen.get(name) for name in varying]
        rows.append([each.get("experiment_id"), status, each.get("value"), epochs, *values])
    terminal.table(("experiment_id", "status", sweep.data["metric"], "epochs", *varying), rows)
    return 0


def extend(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Change how many trials a sweep may have."""
    sweep = client.named_sweep(arguments.id)
    sweep.extend(trials=arguments.trials, parallel=arguments.parallel)
    _report(sweep, terminal)
    return 0


def remove(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Delete sweeps."""

    def delete(sweep: Sweep) -> Sweep:
        sweep.delete(outputs=arguments.outputs)
        sweep.data = {"sweep_id": sweep.id, "deleted": True}
        return sweep

    return _changing(delete)(client, arguments, terminal)


def _changing(
    change: Callable[[Sweep], Sweep],
) -> Callable[[Client, argparse.Namespace, Terminal], int]:
    """Return a command that changes sweeps; one that is refused keeps no other from it."""

    def run(client: Client, arguments: argparse.Namespace, terminal: Terminal) -> int:
        code = 0
        for sweep_id in arguments.ids:
            try:
                sweep = change(client.named_sweep(sweep_id))
            except Problem as error:
                terminal.note(f"error: {sweep_id}: {error}")
                code = FAILED
                continue
            _report(sweep, terminal)
        return code

    return run


def _report(sweep: Sweep, terminal: Terminal) -> None:
    if terminal.as_json:
        terminal.json(sweep.data)
    else:
        terminal.line(f"{sweep.id}: {sweep.data.get('status', 'deleted')}")


def _progress(sweep: Sweep) -> str:
    data = sweep.data
    counts = dict(data.get("counts") or {})
    live = sum(counts.get(name, 0) for name in ("submitting", "queued", "running"))
    done = data["submitted"] - live
    return f"{sweep.id}  {bar(done, data['trials'])} {done}/{data['trials']}{_best(sweep)}"


def _best_columns(sweep: Sweep) -> dict[str, Any]:
    best = sweep.data.get("best") or {}  # servers before 0.3 list none
    return {"best": best.get("value"), "best_trial": best.get("experiment_id")}


def _best(sweep: Sweep) -> str:
    best = sweep.data.get("best")
    if not best:
        return ""
    return f", best {sweep.data['metric']} {value_text(best['value'])} ({best['experiment_id']})"


def _dimension(value: Any) -> str:
    """Return what a parameter may be, as `-p` takes it; a list with commas."""
    if isinstance(value, list):
        return ", ".join(map(value_text, value))
    kind = " log" if value.get("log") else f" step {value['step']}" if value.get("step") else ""
    return f"{value_text(value['low'])}..{value_text(value['high'])}{kind}"
