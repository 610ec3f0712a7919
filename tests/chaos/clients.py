"""The clients: each carries out its steps over HTTP, and records every answer or its absence."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.chaos.evidence import Evidence, Found, Hit, Request, read_folder
from tests.chaos.plan import ExperimentPlan, Plan, Step

ANSWER_SECONDS = 20
PAUSE_SECONDS = 0.2
PATIENCE_SECONDS = 120  # for which a client retries a request, or waits for an end
TERMINAL = ("succeeded", "failed", "cancelled")
OTHER_LEARNING_RATE = "0.02"
PAGE = 50


class Api:
    """The HTTP API of the program, at several addresses in turn.

    Attributes:
        requests: every request so far, with its answer.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses, self._turn = addresses, 0
        self.requests: list[Request] = []

    def ask(self, experiment_id: str, action: str, method: str, path: str, form=None) -> Request:
        """Send one request, once, and record its answer."""
        self._turn += 1  # unsynchronised: any address will do
        address = self._addresses[self._turn % len(self._addresses)]
        data = urlencode(form).encode() if form else None
        request = urllib.request.Request(f"http://{address}{path}", data, method=method)
        status, content = _send(request)
        body = json.loads(content) if content and content[:1] in b"{[" else None
        answered = Request(experiment_id, action, status, body)
        self.requests.append(answered)
        return answered

    def submit(self, plan: ExperimentPlan, action="submit", **other: str) -> Request:
        """POST the form."""
        return self.ask(plan.experiment_id, action, "POST", "/test", plan.form | other)

    def show(self, experiment_id: str) -> Request:
        """GET one experiment."""
        return self.ask(experiment_id, "show", "GET", path_of(experiment_id))

    def cancel(self, experiment_id: str, attempt: int) -> Request:
        """Cancel an experiment; `attempt` is the one that the client means."""
        path = f"{path_of(experiment_id)}/cancel"
        return self.ask(experiment_id, f"cancel {attempt}", "POST", path)

    def retry(self, experiment_id: str) -> Request:
        """Retry an experiment."""
        return self.ask(experiment_id, "retry", "POST", f"{path_of(experiment_id)}/retry")

    def delete(self, experiment_id: str, *, outputs: bool) -> Request:
        """Delete an experiment, and its folder if `outputs`."""
        query = "?outputs=true" if outputs else ""
        return self.ask(experiment_id, "delete", "DELETE", f"{path_of(experiment_id)}{query}")

    def log(self, experiment_id: str, attempt: int) -> str | None:
        """Return a log as text, or None if it is not answered with 200."""
        url = f"http://{self._addresses[0]}{path_of(experiment_id)}/logs?attempt={attempt}"
        status, content = _send(urllib.request.Request(url))
        return content.decode() if status == 200 else None

    def look(self, experiment_id: str) -> None:
        """GET what shows the files of an experiment, and record the statuses of the answers."""
        path = path_of(experiment_id)
        views = ("", "/metrics", "/metrics?max_points=100", "/logs?tail=50", "/files")
        for view in (*(path + view for view in views), f"/ui{path}", "/ui", "/experiments"):
            request = urllib.request.Request(f"http://{self._addresses[0]}{view}")
            status, _ = _send(request)
            self.requests.append(Request(experiment_id, f"look {view}", status, None))

    def listed(self) -> list[str]:
        """Return the ids on all pages of the list."""
        ids, path = [], f"/experiments?limit={PAGE}"
        while path:
            with urllib.request.urlopen(
                f"http://{self._addresses[0]}{path}", timeout=ANSWER_SECONDS
            ) as answer:
                ids += [one["experiment_id"] for one in json.load(answer)]
                link = answer.headers.get("Link", "")
            path = link.partition("<")[2].partition(">")[0]
        return ids


class Clients:
    """All clients of a plan, and their progress."""

    def __init__(self, plan: Plan, api: Api, outputs: Path) -> None:
        self._plan, self._api, self._outputs = plan, api, outputs
        self._done = 0
        self._changed = threading.Condition()
        self._deleted: dict[str, Found] = {}

    def run(self) -> None:
        """Carry out every step of every client, with the clients in parallel."""
        with ThreadPoolExecutor(len(self._plan.clients)) as pool:
            list(pool.map(self._follow, self._plan.clients))

    def wait_for(self, steps: int, seconds: float | None = None) -> None:
        """Wait until so many steps are done, but at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._done >= steps, seconds)

    @property
    def done(self) -> int:
        """Number of steps done so far."""
        return self._done

    def settle_all(self, seconds: float) -> list[str]:
        """Wait for all experiments and their run.json, which follows the database.

        Returns:
            The ids of those that do not end within `seconds`.
        """
        deadline = time.monotonic() + seconds
        ids = [plan.experiment_id for plan in self._plan.experiments]
        present = [name for name in ids if name not in self._deleted]
        stuck = [
            name for name in present if not _until(lambda name=name: self._ended(name), deadline)
        ]
        for name in present:
            _until(lambda name=name: self._is_recorded(name), deadline)
        return stuck

    def gather(self, hits: Sequence[Hit], stuck: Sequence[str], **known) -> Evidence:
        """Gather the evidence at the end; `known` are further fields of it."""
        plans = self._plan.experiments
        found = {plan.experiment_id: self._find(plan.experiment_id) for plan in plans}
        return Evidence(
            plans=plans,
            requests=self._api.requests,
            hits=hits,
            found=found,
            stuck=stuck,
            listed=self._api.listed(),
            folders=sorted(path.name for path in self._outputs.iterdir() if path.name[0] != "."),
            **known,
        )

    def _follow(self, steps: Sequence[Step]) -> None:
        for step in steps:
            getattr(self, f"_{step.action}")(step.experiment)
            with self._changed:
                self._done += 1
                self._changed.notify_all()

    def _submit(self, plan: ExperimentPlan) -> None:
        def send(_number: int) -> None:
            if plan.patient:
                self._until_answered(lambda: self._api.submit(plan))
            else:
                self._api.submit(plan)

        with ThreadPoolExecutor(plan.copies) as pool:
            list(pool.map(send, range(plan.copies)))

    def _repeat(self, plan: ExperimentPlan) -> None:
        self._api.submit(plan, "repeat")

    def _other(self, plan: ExperimentPlan) -> None:
        self._api.submit(plan, "other", learning_rate=OTHER_LEARNING_RATE)

    def _cancel(self, plan: ExperimentPlan) -> None:
        shown = self._api.show(plan.experiment_id)
        attempt = shown.body["attempt"] if shown.status == 200 else 1
        self._until_answered(lambda: self._api.cancel(plan.experiment_id, attempt))

    def _look(self, plan: ExperimentPlan) -> None:
        self._api.look(plan.experiment_id)

    def _settle(self, plan: ExperimentPlan) -> None:
        """Wait for the end, and retry and delete the experiment as planned."""
        name = plan.experiment_id
        for retries_left in range(plan.retries, -1, -1):
            shown = _until(lambda: self._ended(name), time.monotonic() + PATIENCE_SECONDS)
            if not shown or shown.status == 404:
                return
            status = shown.body["status"]
            if status == "succeeded" or not retries_left or (status == "cancelled" and plan.spared):
                break
            self._until_answered(lambda: self._api.retry(name))
        if plan.is_hostile:
            self._api.look(name)
        if plan.delete != "no" and shown.body["status"] in TERMINAL:
            self._delete(plan)

    def _delete(self, plan: ExperimentPlan) -> None:
        name = plan.experiment_id
        # Whoever would have written it may have been killed: another reconciler does.
        _until(lambda: self._is_recorded(name), time.monotonic() + PATIENCE_SECONDS)
        self._deleted[name] = self._find(name)
        outputs = plan.delete == "outputs"
        self._until_answered(lambda: self._api.delete(name, outputs=outputs))

    def _ended(self, name: str) -> Request | None:
        """Return the answer if the experiment has ended or does not exist, otherwise None."""
        shown = self._api.show(name)
        has_ended = shown.status == 200 and shown.body["status"] in TERMINAL
        return shown if has_ended or shown.status == 404 else None

    def _is_recorded(self, name: str) -> bool:
        """Return whether run.json has the status that is shown; of none that is shown, true."""
        shown = self._api.show(name)
        folder = read_folder(self._outputs / name, trusted=False)
        found = folder.run_file if folder else None
        return shown.status == 404 or (
            shown.status == 200 and (found or {}).get("status") == shown.body["status"]
        )

    def _until_answered(self, ask: Callable[[], Request]) -> None:
        """Repeat a request until it is answered with anything but 503."""
        _until(lambda: ask().status not in (None, 503), time.monotonic() + PATIENCE_SECONDS)

    def _find(self, name: str) -> Found:
        deadline = time.monotonic() + PATIENCE_SECONDS
        shown = _until(
            lambda: next((a for a in [self._api.show(name)] if a.status in (200, 404)), None),
            deadline,
        )
        folder = read_folder(self._outputs / name, trusted=not name.endswith("-hostile"))
        if shown is None or shown.status == 404:
            return Found(None, {}, folder, self._deleted.get(name))
        logs = {}
        for attempt in range(1, shown.body["attempt"] + 1):
            text = _until(lambda n=attempt: _boxed(self._api.log(name, n)), deadline)
            logs[attempt] = text[0] if text else ""
        return Found(shown.body, logs, folder, self._deleted.get(name))


def path_of(experiment_id: str) -> str:
    """Return the path of an experiment."""
    return f"/experiments/{quote(experiment_id, safe='')}"


def _boxed(value):
    """Return a true value for any text, the empty one too."""
    return None if value is None else (value,)


def _until(check, deadline: float):
    """Call `check` until it returns something true or the deadline passes; return its result."""
    while not (answer := check()) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return answer


def status_of(answer: http.client.HTTPResponse | urllib.error.HTTPError) -> int | None:
    """Return the status of an answer; None for nginx's own, if it got none from the program."""
    is_of_nginx = answer.headers.get("Server", "").startswith("nginx")
    return None if is_of_nginx and answer.status == 502 else answer.status


def _send(request: urllib.request.Request) -> tuple[int | None, bytes]:
    try:
        try:
            answer = urllib.request.urlopen(request, timeout=ANSWER_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return status_of(answer), answer.read()
    except (OSError, http.client.HTTPException):  # refused, cut or timed out
        return None, b""
