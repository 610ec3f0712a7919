"""A client that openapi-python-client generates from the committed document works whole."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = "openapi-python-client>=0.29,<0.30"
INSTALL_SECONDS, GENERATE_SECONDS = 300, 120
PROGRAM = """
import importlib, pkgutil, sys, time
import client
for module in pkgutil.walk_packages(client.__path__, "client."):
    importlib.import_module(module.name)

from client import Client, models
from client.api.experiments import post_test, show_experiment, submit_experiment
from client.api.models import list_models
from client.api.results import download_file

server = Client(base_url=sys.argv[1], timeout=30)
assert "autoencoder" in [model.name for model in list_models.sync(client=server)]
submissions = [
    (submit_experiment, models.AutoencoderExperiment),
    (post_test, models.ExperimentInForm),
    (post_test, models.ExperimentInMultipart),
]
for number, (operation, body) in enumerate(submissions):
    name = f"generated-{number}"
    fields = {"experiment_id": name, "learning_rate": 0.001, "epoch": 2}
    answer = operation.sync_detailed(client=server, body=body(**fields))
    assert answer.status_code == 201, answer
    assert answer.parsed.status == "queued"
    while (experiment := show_experiment.sync(name, client=server)).status in ("queued", "running"):
        time.sleep(0.1)
    assert experiment.status == "succeeded", experiment
    assert b'"uid"' in download_file.sync(name, "run.json", client=server)
wrong = models.AutoencoderExperiment(experiment_id="wrong", learning_rate=-1, epoch=2)
refused = submit_experiment.sync(client=server, body=wrong)
assert isinstance(refused, models.ProblemOut), refused
print("done")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with the generator and the generated client."""
    folder = tmp_path_factory.mktemp("generated")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", PACKAGE],
        timeout=INSTALL_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"{PACKAGE} cannot be installed: {installed.stderr[-200:]}")
    generator = [python.with_name("openapi-python-client"), "generate", "--meta", "none"]
    arguments = ["--path", ROOT / "docs" / "openapi.json", "--output-path", folder / "client"]
    environ = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    subprocess.run([*generator, *arguments], timeout=GENERATE_SECONDS, env=environ, check=True)
    return python


def test_client_submits_waits_and_downloads(python, backend, tmp_path):
    trainer = tmp_path / "models" / "autoencoder" / "train.py"
    trainer.parent.mkdir(parents=True)
    trainer.write_text("print('trained')")
    shutil.copy(ROOT / "models" / "autoencoder" / "model.yaml", trainer.parent)
    server = backend("serve", MODELS_DIR=str(tmp_path / "models")).ready()

    done = subprocess.run(
        [python, "-c", PROGRAM, f"http://{server.address}"],
        cwd=python.parents[2],
        timeout=GENERATE_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
