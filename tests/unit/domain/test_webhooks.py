"""Whom to notify, where notices may be sent, and what is sent."""

import hashlib
import hmac
import ipaddress
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from backend.domain.experiment import Experiment, Transition
from backend.domain.status import Status
from backend.domain.webhooks.notice import Notice, content_of, signature
from backend.domain.webhooks.targets import Allowed, Target, parse_targets

NOW = datetime(2024, 2, 29, 12, tzinfo=UTC)
FAILED = Experiment(
    id=1,
    experiment_id="실험 <1> & 2",
    uid="uid-1",
    model="autoencoder",
    learning_rate=0.001,
    epoch=20,
    dataset=None,
    status=Status.FAILED,
    attempt=2,
    job="job",
    reason="out_of_memory",
    message="Memory ran out.",
    remedy="Ask for more.",
    created_at=NOW,
    updated_at=NOW,
)
STEP = Transition(2, "running", "failed", "out_of_memory", NOW)


def notice(**changes):
    content = content_of(FAILED, STEP)
    known = Notice("target", 7, FAILED.experiment_id, "failed", content, NOW, NOW)
    return replace(known, **changes)


def test_targets():
    text = (
        "https://a.example/hook?key=1\n\n  http://b:80 slack failed,running\nhttp://c failed slack "
    )
    targets, problems = parse_targets(text)

    assert problems == []
    assert [target.name for target in targets] == ["a.example", "b", "c"]
    assert [target.is_slack for target in targets] == [False, True, True]
    assert targets[0].kinds == {"succeeded", "failed", "cancelled"}
    assert targets[1].kinds == {"failed", "running"}
    assert "key=1" not in repr(targets[0])
    assert len({target.key for target in targets}) == 3


@pytest.mark.parametrize(
    "line",
    ["ftp://a", "a.example/hook", "http://", "http://u:secret@a", "http://a:99999", "http://[::1",
     "http://a ended", "http://a failed,", "http://a/\u00e9", "http://a:0"],
)  # fmt: skip
def test_targets_that_cannot_be_used(line):
    _, problems = parse_targets(f"http://good\n{line}")

    assert len(problems) == 1
    assert problems[0].startswith("WEBHOOK_URL, line 2, ")
    assert "secret" not in problems[0]


def test_too_many_targets():
    _, problems = parse_targets("\n".join(f"http://host-{number}" for number in range(11)))
    assert problems == ["WEBHOOK_URL must have at most 10 lines, not 11."]
    assert len(parse_targets("http://a\nhttp://a failed")[1]) == 1


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_public_addresses_by_default(address, is_public):
    assert Allowed().allows("name.example", ipaddress.ip_address(address)) is is_public


def test_allowed_list_replaces_the_default():
    allowed = Allowed.parse(["chat.example", ".lab.example", "10.1.0.0/16", "::1"])
    public, private = ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address("10.2.0.1")

    assert allowed.allows("chat.example", private)
    assert allowed.allows("a.b.lab.example", private)
    assert not allowed.allows("lab.example", private)
    assert not allowed.allows("notchat.example", public)
    assert allowed.allows("other", ipaddress.ip_address("10.1.9.9"))
    assert allowed.allows("other", ipaddress.ip_address("::ffff:10.1.9.9"))
    assert not allowed.allows("other", public)


def test_content():
    content = json.loads(notice().body(Target("http://a")))

    assert content["id"] == notice().id == "uid-1-2-failed"
    assert content["type"] == "experiment.failed"
    assert content["experiment_id"] == FAILED.experiment_id
    assert content["at"] == "2024-02-29T12:00:00.000000Z"
    assert content["diagnosis"]["message"] == "Memory ran out."


def test_ids_of_an_attempt_that_is_preempted_differ():
    """A receiver drops an id that it has seen; one that is sent again has the same."""
    path = ["submitting", "queued", "running", "queued", "running", "succeeded"]
    steps = [
        Transition(1, old, new, None, NOW + timedelta(seconds=number))
        for number, (old, new) in enumerate(pairwise(path))
    ]
    ids = [json.loads(content_of(FAILED, step))["id"] for step in steps]

    assert len(set(ids)) == len(steps)
    assert ids == [json.loads(content_of(FAILED, step))["id"] for step in steps]


def test_diagnosis_belongs_to_the_current_state():
    earlier = replace(STEP, attempt=1, to_status="running")
    assert json.loads(content_of(FAILED, earlier))["diagnosis"] is None


def test_message_for_slack():
    message = json.loads(notice().body(Target("http://a", is_slack=True)))

    assert message == {
        "text": "실험 &lt;1&gt; &amp; 2 (autoencoder, attempt 2) is now failed: "
        "Memory ran out. Ask for more."
    }


def test_pauses_grow_up_to_ten_minutes():
    pauses = [notice(failures=number).pause for number in range(30)]

    assert pauses[:3] == [timedelta(seconds=seconds) for seconds in (1, 2, 4)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(minutes=10)


def test_signature():
    expected = hmac.new(b"secret", b"body", hashlib.sha256).hexdigest()
    assert signature("secret", b"body") == f"sha256={expected}"
