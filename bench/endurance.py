"""Memory over many runs that are started and come to their end, on a real cluster.

With KUBECONFIG, in a namespace of its own that is removed afterwards. No trainer runs: a quota lets
no pod be made, and the script says in the Job controller's place that a Job is complete. Ended
Jobs stay where they are, as they do for JOB_TTL_SECONDS.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache, partial

from kubernetes import client, config

from backend.domain.timestamps import to_text
from bench.figures import Growth, Row
from bench.reconcile import get, submit
from bench.server import children, proportional_kilobytes, servers, serving
from bench.submission import TIMEOUT, namespace

NAMESPACE = "hello-flask-bench-endurance"
WHOLE, QUICK = (500, 1000, 1500, 2000), (10, 20)
AT_ONCE = 100  # runs that are live at the same time
CLIENTS = 8
SETTLE_SECONDS = 120
PASS_SECONDS = 35  # in which a pass over all runs is among those that are made
NOISE_MEGABYTES = 5.0

Megabytes = dict[str, float]  # by role


@cache
def measure(steps: tuple[int, ...], pause: float) -> dict[int, Megabytes]:
    """Give the memory of each role `pause` seconds after so many runs have come to their end."""
    config.load_kube_config()
    with namespace(NAMESPACE), tempfile.TemporaryDirectory() as folder:
        environment = {
            "LAUNCHER": "kubernetes",
            "AE_MODEL_IMAGE_URL": "autoencoder",
            "JOB_NAMESPACE": NAMESPACE,
        }
        serve = [sys.executable, "-m", "backend", "serve"]
        with serving(serve, folder, environment) as (url, _):
            found, there = {}, 0
            for step in steps:
                for first in range(there, step, AT_ONCE):
                    run(url, range(first, min(first + AT_ONCE, step)))
                there = step
                time.sleep(pause)
                found[step] = megabytes()
    return found


def run(url: str, numbers: range) -> None:
    """Submit a run for each number, and bring it to its end."""
    submit(url, numbers)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(partial(end, url), numbers))
    deadline = time.monotonic() + SETTLE_SECONDS
    while any(get(url, number)["status"] != "succeeded" for number in numbers):
        if time.monotonic() > deadline:
            raise RuntimeError(f"of {numbers} some have not ended after {SETTLE_SECONDS} s")
        time.sleep(0.5)


def end(url: str, number: int) -> None:
    """Say of a run's Job that it is complete."""
    now = to_text(datetime.now(UTC))
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": now}
    client.BatchV1Api().patch_namespaced_job_status(
        get(url, number)["job"],
        NAMESPACE,
        {"status": {"conditions": [complete], "completionTime": now, "succeeded": 1}},
        _preload_content=False,
        _request_timeout=TIMEOUT,
    )


def megabytes() -> Megabytes:
    """Give the proportional set size of the web's processes and of the reconciler."""
    (serve,) = servers()
    sizes = {"web": proportional_kilobytes(serve), "reconcile": 0}
    for role in children(serve):
        workers = children(role)
        name = "web" if workers else "reconcile"
        sizes[name] += sum(map(proportional_kilobytes, (role, *workers)))
    return {name: size / 1000 for name, size in sizes.items()}


def rows(quick: bool) -> Iterator[Row]:
    """Give the lines of the table of measurements."""
    found = measure(QUICK, 2) if quick else measure(WHOLE, PASS_SECONDS)
    (first, before), *_, (last, after) = found.items()
    for role in before:
        growth = after[role] - before[role]
        yield Row(
            f"memory of {role} (PSS) after {last:,} runs on Kubernetes, start to end",
            f"{after[role]:.1f} MB",
            f"{before[role]:.1f} MB after {first:,}",
            after[role] / before[role],
            f"<= {NOISE_MEGABYTES:g} MB more",
            growth <= NOISE_MEGABYTES,
        )


def growths() -> Iterator[Growth]:
    """Give how memory grows with the runs, from the same measurement."""
    found = measure(WHOLE, PASS_SECONDS)
    roles = ("web", "reconcile")
    yield Growth(
        "endurance_runs",
        "Memory by runs that have come to their end, on Kubernetes",
        "runs",
        "MB (PSS)",
        {role: [(runs, sizes[role]) for runs, sizes in found.items()] for role in roles},
    )


def how() -> str:
    """Say how it is measured."""
    return f"At most {AT_ONCE} runs live at once; a pass over all runs before each look."
