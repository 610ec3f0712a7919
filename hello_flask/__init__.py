"""Train from Python: a client of a hello-flask server that needs the standard library alone.

from hello_flask import Client

experiment = Client().submit(learning_rate=0.001, epoch=20)
print(experiment.wait().metrics)
"""

from backend import __version__
from hello_flask.client import Client
from hello_flask.configuration import ConfigurationError
from hello_flask.errors import (
    Conflict,
    ExperimentFailed,
    Forbidden,
    HelloFlaskError,
    InvalidFields,
    NotFound,
    OlderServer,
    Problem,
    ServerAway,
    StillRunning,
    SweepFailed,
    Unauthorized,
    Unavailable,
)
from hello_flask.experiment import Experiment
from hello_flask.listing import Experiments
from hello_flask.sweep import Sweep

__all__ = [
    "Client",
    "ConfigurationError",
    "Conflict",
    "Experiment",
    "ExperimentFailed",
    "Experiments",
    "Forbidden",
    "HelloFlaskError",
    "InvalidFields",
    "NotFound",
    "OlderServer",
    "Problem",
    "ServerAway",
    "StillRunning",
    "Sweep",
    "SweepFailed",
    "Unauthorized",
    "Unavailable",
    "__version__",
]
