"""Memory over many experiments that start and end, on a real cluster.

Needs KUBECONFIG, and uses a namespace of its own that is deleted afterwards. No trainer runs: a
quota allows no pods, and this module sets the Complete condition in place of the Job controller.
Ended Jobs stay, as they do for JOB_TTL_SECONDS.
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
from bench.kubernetes.reconcile import get, submit
from bench.kubernetes.submission import TIMEOUT, namespace
from bench.server import children, proportional_kilobytes, servers, serving

NAMESPACE = "hello-flask-bench-endurance"
WHOLE, QUICK = (500, 1000, 1500, 2000), (10, 20)
AT_ONCE = 100  # experiments that are live at the same time
CLIENTS = 8
SETTLE_SECONDS = 120
PASS_SECONDS = 35  # long enough to include a full pass of the reconciler
NOISE_MEGABYTES = 5.0

Megabytes = dict[str, float]  # by role


@cache
def measure(steps: tuple[int, ...], pause: float) -> dict[int, Megabytes]:
    """Return the memory of each role, `pause` seconds after each number of ended experiments."""
    config.load_kube_config()
    with namespace(NAMESPACE), tempfile.TemporaryDirectory() as folder:
        environment = {
            "LAUNCHER": "kubernetes",
            "AE_MODEL_IMAGE_URL": "autoencoder",
            "JOB_NAMESPACE": NAMESPACE,
        }
        serve = [sys.executable, "-m", "backend", "serve"]
        with serving(serve, folder, environment) as (url, _):
            memory, ended = {}, 0
            for step in steps:
                for first in range(ended, step, AT_ONCE):
                    submit_and_end(url, range(first, min(first + AT_ONCE, step)))
                ended = step
                time.sleep(pause)
                memory[step] = megabytes()
    return memory


def submit_and_end(url: str, numbers: range) -> None:
    """Submit an experiment for each number, and end all of them."""
    submit(url, numbers)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(partial(end, url), numbers))
    deadline = time.monotonic() + SETTLE_SECONDS
    while any(get(url, number)["status"] != "succeeded" for number in numbers):
        if time.monotonic() > deadline:
            raise RuntimeError(f"some of {numbers} have not ended after {SETTLE_SECONDS} s")
        time.sleep(0.5)


def end(url: str, number: int) -> None:
    """Mark the Job of an experiment as complete."""
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
    """Return the proportional set sizes of the web processes and of the reconciler."""
    (serve,) = servers()
    sizes = {"web": proportional_kilobytes(serve), "reconcile": 0}
    for role in children(serve):
        workers = children(role)
        name = "web" if workers else "reconcile"
        sizes[name] += sum(map(proportional_kilobytes, (role, *workers)))
    return {name: size / 1000 for name, size in sizes.items()}


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurements."""
    memory = measure(QUICK, 2) if quick else measure(WHOLE, PASS_SECONDS)
    (first, before), *_, (last, after) = memory.items()
    for role in before:
        growth = after[role] - before[role]
        yield Row(
            f"memory of {role} (PSS) after {last:,} experiments on Kubernetes",
            f"{after[role]:.1f} MB",
            f"{before[role]:.1f} MB after {first:,}",
            after[role] / before[role],
            f"<= {NOISE_MEGABYTES:g} MB more",
            growth <= NOISE_MEGABYTES,
        )


def growths() -> Iterator[Growth]:
    """Yield how memory grows with the experiments, from the same measurement."""
    memory = measure(WHOLE, PASS_SECONDS)
    roles = ("web", "reconcile")
    yield Growth(
        "endurance",
        "Memory by the number of ended experiments, on Kubernetes",
        "ended experiments",
        "MB (PSS)",
        {role: [(number, sizes[role]) for number, sizes in memory.items()] for role in roles},
    )


def how() -> str:
    """Return how memory is measured."""
    return f"At most {AT_ONCE} live experiments; a full pass before each measurement."
