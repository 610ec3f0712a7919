"""The lines of docs/cli.md and the cells of docs/notebook.ipynb, against a real server."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from hello_flask.command import completion
from hello_flask.command.main import make_parser
from tests.integration.backend_process import ROOT, Installation
from tests.integration.waiting import DEADLINE_SECONDS, eventually
from tests.ports import free_address

PAGE = (ROOT / "docs/cli.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
TRAINER = ROOT / "tests/fakes/quick_trainer.py"
HEAVY = {"sqlalchemy", "alembic", "flask", "apiflask", "kubernetes", "gunicorn", "orjson", "yaml"}


@pytest.fixture
def backend(environ, tmp_path):
    """Start roles whose trainer ends by itself."""
    installation = Installation(tmp_path / "installation", environ, TRAINER)
    entry = ROOT / "models" / "autoencoder" / "model.yaml"  # its objective is that of sweeps
    (installation.trainer.parent / "model.yaml").symlink_to(entry)
    yield installation.start
    installation.close()


@pytest.fixture
def folder(tmp_path):
    """A folder with a data set, in which a user types."""
    folder = tmp_path / "typed"
    (folder / "input").mkdir(parents=True)
    shutil.copy(ROOT / "input/digits.npz", folder / "input")
    shutil.copy(ROOT / "input/digits.npz", tmp_path / "input")
    return folder


class Shell:
    """A shell with `hello-flask` on its path and a server's address in its environment."""

    def __init__(self, folder, address, **variables):
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        program = programs / "hello-flask"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m backend "$@"\n')
        program.chmod(0o755)
        self.folder = folder
        self.environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "HELLO_FLASK_URL": f"http://{address}",
            **variables,
        }

    def start(self, line, **options):
        return subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(self, line):
        """Type a line, and return its exit code, its output and its errors."""
        with self.start(line) as process:
            output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode, output, errors


@pytest.fixture
def shell(backend, folder):
    return Shell(folder, backend("serve").ready().address)


def test_every_command_is_on_the_page():
    text = completion.script("bash", make_parser("hello-flask"), ())
    commands = re.search(r'""\) COMPREPLY=\(\$\(compgen -W "(.*?)"', text)[1].split()

    assert {line.split()[1] for line in LINES} == {
        name for name in commands if not name.startswith("-")
    }


def test_each_line_works(shell):
    for line in LINES:
        wanted = re.search(r"# exit code (\d)", line)
        code, output, errors = shell.run(line)
        assert code == int(wanted[1] if wanted else 0), (line, output, errors)
        assert "Traceback" not in errors
        assert "\x1b" not in output + errors  # no colour in a pipe
        assert "\r" not in output + errors  # and no progress bar


def test_python_of_the_page(shell):
    assert len(PYTHON) == 1
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PYTHON[0]],
        env=shell.environ,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    assert "epoch 20/20" in done.stdout
    assert "dataset is not a file of the input folder" in done.stdout


def test_notebook(shell):
    shutil.copy(ROOT / "docs/notebook.ipynb", shell.folder)
    for _ in range(2):  # it can be run again
        done = subprocess.run(
            [sys.executable, "-m", "jupyter", "execute", "notebook.ipynb", "--inplace"],
            env=shell.environ,
            cwd=shell.folder,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
    cells = json.loads((shell.folder / "notebook.ipynb").read_text())["cells"]
    text = json.dumps(cells)
    assert "notebook-0.01" in text
    assert "learning_rate must be a number above 0 and at most 10" in text


def test_exit_codes_and_json(shell):
    code, output, _ = shell.run("hello-flask submit -p learning_rate=1 -p epoch=2 --wait --json")
    document = json.loads(output)
    assert (code, document["status"]) == (0, "succeeded")

    code, output, errors = shell.run("hello-flask show nothing --json")
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1

    code, output, errors = shell.run(f"hello-flask rm nothing '{document['experiment_id']}'")
    assert code == 1  # one of two was refused, the other was deleted
    assert output == f"{document['experiment_id']}: deleted\n"


def test_broken_pipe_is_quiet(shell):
    line = "hello-flask models | head -n 1; echo ${PIPESTATUS[0]}"
    for command in (line, line.replace("head -n 1", "true")):
        code, output, errors = shell.run(command)
        assert (code, errors) == (0, "")
        assert output.splitlines()[-1] in ("0", "141")


def test_ctrl_c_leaves_the_experiment_alone(shell):
    line = "exec hello-flask submit -p learning_rate=1 -p epoch=100000 --id long --follow"
    with shell.start(line) as process:
        assert process.stdout.readline().startswith("epoch 1/100000")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        "long goes on: hello-flask logs -f long follows it again, hello-flask cancel long ends it."
    )
    assert json.loads(shell.run("hello-flask show long --json")[1])["status"] == "running"


def test_followed_log_outlives_a_restart(backend, folder):
    address = free_address()
    server = backend("serve", BIND=address).ready()
    shell = Shell(folder, address)
    line = "exec hello-flask submit -p learning_rate=1 -p epoch=100000 --id long --follow"
    with shell.start(line) as process:
        assert process.stdout.readline().startswith("epoch 1/100000")
        server.press_ctrl_c()
        server.exit_code()
        backend("serve", BIND=address).ready()
        assert shell.run("hello-flask cancel long")[0] == 0
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 1
    assert "epoch 1/" not in output  # a line comes once
    assert errors.splitlines()[-1].startswith("long: cancelled")


def test_server_with_tokens(backend, folder):
    tokens = folder / "tokens"
    tokens.write_text("alice:the-token-of-alice\nro:bob:the-token-of-bob\n")
    address = backend("serve", API_TOKEN_FILE=str(tokens)).ready().address
    anonymous, bob = (
        Shell(folder, address),
        Shell(folder, address, HELLO_FLASK_TOKEN="the-token-of-bob"),
    )
    config = folder / "config.toml"
    config.write_text(f'url = "http://{address}"\ntoken = "the-token-of-alice"\n')
    alice = Shell(folder, address, HELLO_FLASK_CONFIG=str(config))
    del alice.environ["HELLO_FLASK_URL"]

    code, _, errors = anonymous.run("hello-flask ls")
    assert code == 2
    assert errors.startswith("error: ")
    assert "token" in errors
    assert bob.run("hello-flask ls")[0] == 0
    code, _, errors = bob.run("hello-flask data rm digits.npz")
    assert code == 1
    assert "read" in errors

    config.chmod(0o644)
    code, _, errors = alice.run("hello-flask ls")
    assert (code, errors) == (
        2,
        f"error: {config} can be read by other users of this machine: chmod 600 {config}\n",
    )
    config.chmod(0o600)
    assert alice.run("hello-flask data rm digits.npz") == (0, "digits.npz: deleted\n", "")


def test_completion_in_bash(shell):
    _, output, errors = shell.run(
        "source <(hello-flask completion bash); COMP_CWORD=2 COMP_WORDS=(hello-flask data p); "
        '_hello_flask; echo "${COMPREPLY[@]}"; COMP_CWORD=2 COMP_WORDS=(hello-flask submit --w); '
        '_hello_flask; echo "${COMPREPLY[@]}"; COMP_CWORD=1 COMP_WORDS=(hello-flask re); '
        '_hello_flask; echo "${COMPREPLY[@]}"'
    )
    assert (output, errors) == ("put\n--wait\nreconcile rebuild retry\n", "")


def test_commands_import_nothing_of_the_server(shell):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "backend", "models"],
        env=shell.environ,
        capture_output=True,
        text=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert done.returncode == 0
    assert "hello_flask.client" in imported
    assert {name.split(".")[0] for name in imported} & HEAVY == set()
    assert {name for name in imported if name.startswith("backend")} == {"backend"}


def test_help_lists_the_commands(shell):
    text = shell.run("hello-flask --help")[1]
    roles = re.findall(r"^  ([a-z, ]+?)  +[a-z]", text, re.MULTILINE)
    known = {name for names in roles for name in names.split(", ")}

    assert {line.split()[1] for line in LINES} <= known


def test_interrupted_before_anything(shell):
    """A server that does not answer; Ctrl-C ends the command without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        shell.environ["HELLO_FLASK_URL"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with shell.start("exec hello-flask ls") as process:
            connection, _ = listening.accept()
            with connection:
                eventually(lambda: connection.recv(1, socket.MSG_PEEK))
                os.killpg(process.pid, signal.SIGINT)
                assert process.communicate(timeout=DEADLINE_SECONDS) == ("", "")
    assert process.returncode == 130
