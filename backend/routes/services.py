"""What the routes work with: the parts that `make_app` has put into the running app."""

from flask import current_app

from backend.experiments import Experiments
from backend.inputs import Inputs
from backend.outputs import Outputs
from backend.results import Results
from backend.streams import Streams
from backend.telemetry import Telemetry


def experiments() -> Experiments:
    """Give the experiments."""
    found: Experiments = current_app.extensions["experiments"]
    return found


def inputs() -> Inputs:
    """Give the input folder."""
    found: Inputs = current_app.extensions["inputs"]
    return found


def outputs() -> Outputs:
    """Give the output folder."""
    found: Outputs = current_app.extensions["outputs"]
    return found


def results() -> Results:
    """Give the curves of the runs."""
    found: Results = current_app.extensions["results"]
    return found


def streams() -> Streams:
    """Give the streams of this web worker."""
    found: Streams = current_app.extensions["streams"]
    return found


def telemetry() -> Telemetry:
    """Give the counts for Prometheus."""
    found: Telemetry = current_app.extensions["telemetry"]
    return found
