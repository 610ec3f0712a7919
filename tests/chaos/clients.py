"""The clients: each does its steps over HTTP, and writes down every answer or that none came."""

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
from tests.chaos.plan import Plan, RunPlan, Step

ANSWER_SECONDS = 20
PAUSE_SECONDS = 0.2
PATIENCE_SECONDS = 120  # of a client that sends again, or waits for a run's end, amid faults
TERMINAL = ("succeeded", "failed", "cancelled")
OTHER_LEARNING_RATE = "0.02"
PAGE = 50


class Api:
    """The program as HTTP shows it, at one of several addresses."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses, self._turn = addresses, 0
        self.requests: list[Request] = []

    def ask(self, run: str, what: str, method: str, path: str, form=None) -> Request:
        """Send one request, once, and note what came back."""
        self._turn += 1  # a shared counter may skip: any address will do
        address = self._addresses[self._turn % len(self._addresses)]
        data = urlencode(form).encode() if form else None
        request = urllib.request.Request(f"http://{address}{path}", data, method=method)
        status, content = _send(request)
        body = json.loads(content) if content and content[:1] in b"{[" else None
        noted = Request(run, what, status, body)
        self.requests.append(noted)
        return noted

    def submit(self, run: RunPlan, what="submit", **other: str) -> Request:
        """POST the form."""
        return self.ask(run.experiment_id, what, "POST", "/test", run.form | other)

    def show(self, run: str) -> Request:
        """GET one experiment."""
        return self.ask(run, "show", "GET", path_of(run))

    def cancel(self, run: str, attempt: int) -> Request:
        """Cancel it; `attempt` is the one that is meant."""
        return self.ask(run, f"cancel {attempt}", "POST", f"{path_of(run)}/cancel")

    def retry(self, run: str) -> Request:
        """Try it again."""
        return self.ask(run, "retry", "POST", f"{path_of(run)}/retry")

    def delete(self, run: str, *, outputs: bool) -> Request:
        """Forget it, and remove its folder if `outputs` says so."""
        query = "?outputs=true" if outputs else ""
        return self.ask(run, "delete", "DELETE", f"{path_of(run)}{query}")

    def log(self, run: str, attempt: int) -> str | None:
        """GET a log as text, or None if no good answer came."""
        address = self._addresses[0]
        status, content = _send(
            urllib.request.Request(f"http://{address}{path_of(run)}/logs?attempt={attempt}")
        )
        return content.decode() if status == 200 else None

    def listed(self) -> list[str]:
        """Name every experiment of every page of the list."""
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
    """All clients of a plan, and how far they have come."""

    def __init__(self, plan: Plan, api: Api, outputs: Path) -> None:
        self._plan, self._api, self._outputs = plan, api, outputs
        self._done = 0
        self._changed = threading.Condition()
        self._forgotten: dict[str, Found] = {}

    def run(self) -> None:
        """Do every step of every client, the clients at the same time."""
        with ThreadPoolExecutor(len(self._plan.clients)) as pool:
            list(pool.map(self._follow, self._plan.clients))

    def wait_for(self, steps: int, seconds: float | None = None) -> None:
        """Return when so many steps have been done, at the latest after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._done >= steps, seconds)

    @property
    def done(self) -> int:
        """How many steps have been done."""
        return self._done

    def settle_all(self, seconds: float) -> list[str]:
        """Wait for the end of every run, and name those that have not ended within `seconds`."""
        deadline = time.monotonic() + seconds
        return [
            run.experiment_id
            for run in self._plan.runs
            if run.experiment_id not in self._forgotten
            and not _until(lambda run=run: self._at_rest(run.experiment_id), deadline)
        ]

    def gather(self, hits: Sequence[Hit], stuck: Sequence[str], **known) -> Evidence:
        """Look at everything that is left; `known` are further fields of the evidence."""
        found = {run.experiment_id: self._look(run.experiment_id) for run in self._plan.runs}
        return Evidence(
            runs=self._plan.runs,
            requests=self._api.requests,
            hits=hits,
            found=found,
            stuck=stuck,
            listed=self._api.listed(),
            folders=sorted(one.name for one in self._outputs.iterdir() if one.name[0] != "."),
            **known,
        )

    def _follow(self, steps: Sequence[Step]) -> None:
        for step in steps:
            getattr(self, f"_{step.what}")(step.run)
            with self._changed:
                self._done += 1
                self._changed.notify_all()

    def _submit(self, run: RunPlan) -> None:
        def send(_number: int) -> None:
            if run.patient:
                self._until_answered(lambda: self._api.submit(run))
            else:
                self._api.submit(run)

        with ThreadPoolExecutor(run.copies) as pool:
            list(pool.map(send, range(run.copies)))

    def _repeat(self, run: RunPlan) -> None:
        self._api.submit(run, "repeat")

    def _other(self, run: RunPlan) -> None:
        self._api.submit(run, "other", learning_rate=OTHER_LEARNING_RATE)

    def _cancel(self, run: RunPlan) -> None:
        shown = self._api.show(run.experiment_id)
        attempt = shown.body["attempt"] if shown.status == 200 else 1
        self._until_answered(lambda: self._api.cancel(run.experiment_id, attempt))

    def _settle(self, run: RunPlan) -> None:
        """Wait for its end, try it again as often as planned, and delete it if that is planned."""
        name = run.experiment_id
        for retries_left in range(run.retries, -1, -1):
            shown = _until(lambda: self._at_rest(name), time.monotonic() + PATIENCE_SECONDS)
            if not shown or shown.status == 404:
                return
            status = shown.body["status"]
            if status == "succeeded" or not retries_left or (status == "cancelled" and run.spared):
                break
            self._until_answered(lambda: self._api.retry(name))
        if run.delete != "no" and shown.body["status"] in TERMINAL:
            self._delete(run)

    def _delete(self, run: RunPlan) -> None:
        name = run.experiment_id
        self._forgotten[name] = self._look(name)
        outputs = run.delete == "outputs"
        self._until_answered(lambda: self._api.delete(name, outputs=outputs))

    def _at_rest(self, name: str) -> Request | None:
        shown = self._api.show(name)
        ended = shown.status == 200 and shown.body["status"] in TERMINAL
        return shown if ended or shown.status == 404 else None

    def _until_answered(self, ask: Callable[[], Request]) -> None:
        """Ask again until an answer comes that is not 503."""
        _until(lambda: ask().status not in (None, 503), time.monotonic() + PATIENCE_SECONDS)

    def _look(self, name: str) -> Found:
        deadline = time.monotonic() + PATIENCE_SECONDS
        shown = _until(
            lambda: next((a for a in [self._api.show(name)] if a.status in (200, 404)), None),
            deadline,
        )
        folder = read_folder(self._outputs / name)
        if shown is None or shown.status == 404:
            return Found(None, {}, folder, self._forgotten.get(name))
        logs = {}
        for attempt in range(1, shown.body["attempt"] + 1):
            text = _until(lambda n=attempt: _some(self._api.log(name, n)), deadline)
            logs[attempt] = text[0] if text else ""
        return Found(shown.body, logs, folder, self._forgotten.get(name))


def path_of(run: str) -> str:
    """Give the path of an experiment."""
    return f"/experiments/{quote(run, safe='')}"


def _some(value):
    return None if value is None else (value,)


def _until(check, deadline: float):
    """Ask until the answer is true, and give it; at the deadline give the last one."""
    while not (answer := check()) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return answer


def _send(request: urllib.request.Request) -> tuple[int | None, bytes]:
    try:
        try:
            answer = urllib.request.urlopen(request, timeout=ANSWER_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read()
    except (OSError, http.client.HTTPException):  # refused, broken off or too late
        return None, b""
