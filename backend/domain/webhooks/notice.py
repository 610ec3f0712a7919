"""What is sent about a change of status, and when it is sent again. Pure."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backend.domain.experiment import Experiment, Transition
from backend.domain.status import REQUEUED
from backend.domain.timestamps import to_text
from backend.domain.webhooks.targets import Target

GIVE_UP_AFTER = timedelta(days=1)
LONGEST_PAUSE = timedelta(minutes=10)  # between two tries to send one notice
MAX_TEXT = 2000  # characters of a message of Slack


@dataclass(frozen=True)
class Notice:
    """One change of status, as it is to be sent to one target.

    Attributes:
        target: the key of the target.
        event: the id of the transition.
        content: the JSON object that is sent.
        kind: the status that began.
        created_at: when it was noted.
        next_at: when to send it (again).
        failures: how often that has failed.
    """

    target: str
    event: int
    experiment_id: str
    kind: str
    content: str
    created_at: datetime
    next_at: datetime
    failures: int = 0

    @property
    def id(self) -> str:
        """The id of the event, the same however often it is sent, and for every target."""
        return str(json.loads(self.content)["id"])

    def body(self, target: Target) -> bytes:
        """Return what is sent to a target."""
        if not target.is_slack:
            return self.content.encode()
        return json.dumps(
            {"text": _sentence(json.loads(self.content))}, ensure_ascii=False
        ).encode()

    @property
    def pause(self) -> timedelta:
        """How long to wait after one more failure."""
        return min(LONGEST_PAUSE, timedelta(seconds=2.0 ** min(self.failures, 20)))


def content_of(experiment: Experiment, step: Transition) -> str:
    """Return what is sent about a transition `step` of an experiment, as JSON.

    The id is made of what never changes, so that it stays the same after a rebuilt database. An
    attempt that a queue takes back has some statuses several times, so their id has the time.
    """
    again = f"-{step.at:%Y%m%dT%H%M%S.%fZ}" if step.to_status in REQUEUED else ""
    diagnosis = experiment.reason and {
        "reason": experiment.reason,
        "message": experiment.message,
        "remedy": experiment.remedy,
    }
    is_current = experiment.attempt == step.attempt and experiment.status == step.to_status
    document = {
        "id": f"{experiment.uid}-{step.attempt}-{step.to_status}{again}",
        "type": f"experiment.{step.to_status}",
        "at": to_text(step.at),
        "experiment_id": experiment.experiment_id,
        "attempt": step.attempt,
        "from_status": step.from_status,
        "to_status": step.to_status,
        "reason": step.reason,
        "by": step.actor,
        "model": experiment.model,
        "learning_rate": experiment.learning_rate,
        "epoch": experiment.epoch,
        "dataset": experiment.dataset,
        "diagnosis": (diagnosis or None) if is_current else None,
    }
    return json.dumps(document, ensure_ascii=False)


def signature(secret: str, body: bytes) -> str:
    """Return the value of the header that proves that a body is ours (HMAC-SHA256, RFC 2104)."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def _sentence(document: dict[str, Any]) -> str:
    """Return a notice as a sentence for a chat, with the three signs escaped that Slack reads."""
    diagnosis = document["diagnosis"] or {}
    why = f": {diagnosis['message']} {diagnosis['remedy']}" if diagnosis else ""
    attempt = f", attempt {document['attempt']}" if document["attempt"] > 1 else ""
    text = (
        f"{document['experiment_id']} ({document['model']}{attempt}) is now "
        f"{document['to_status']}{why}"
    )
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")[:MAX_TEXT]
