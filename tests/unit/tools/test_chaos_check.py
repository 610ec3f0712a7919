"""The checks of `make chaos` accept sound evidence and find each planted violation."""

from dataclasses import replace

import pytest

from backend.files.log_lines import UNHEARD
from tests.chaos.check import CHECKS, check
from tests.chaos.evidence import Evidence, Folder, Found, Hit, Request
from tests.chaos.plan import ExperimentPlan, make_plan

NAME, JOB = "chaos 0001-once", "autoencoder-chaos-0001-once-12345678-2"
PLAN = ExperimentPlan(NAME, epoch=3, copies=1, patient=True, retries=1, spared=False, delete="no")
FORM = {"created_at": "then", "learning_rate": 0.01, "epoch": 3}
STEPS = [
    (1, None, "submitting"),
    (1, "submitting", "queued"),
    (1, "queued", "running"),
    (1, "running", "failed"),
    (2, "failed", "submitting"),
    (2, "submitting", "queued"),
    (2, "queued", "running"),
    (2, "running", "succeeded"),
]
LEDGER = [
    {"event": "start", "start": "a", "attempt": 1, "alone": True},
    {"event": "exit", "start": "a", "attempt": 1, "code": 1, "says": "a ends"},
    {"event": "start", "start": "b", "attempt": 2, "alone": True},
    {"event": "exit", "start": "b", "attempt": 2, "code": 0, "says": "b ends"},
]


def history(steps):
    names = ("attempt", "from_status", "to_status")
    return [dict(zip(names, step, strict=True)) for step in steps]


SHOWN = FORM | {
    "status": "succeeded",
    "attempt": 2,
    "job": JOB,
    "diagnosis": None,
    "history": history(STEPS),
}
FOLDER = Folder(
    run_file=FORM | {"status": "succeeded", "attempt": 2},
    finished=True,
    metrics=[1, 2, 3],
    ledger=LEDGER,
)
FOUND = Found(SHOWN, {1: "hello\na ends\n", 2: "b ends\n"}, FOLDER)
SOUND = Evidence(
    plans=[PLAN],
    requests=[
        Request(NAME, "submit", None),
        Request(NAME, "submit", 201, FORM),
        Request(NAME, "repeat", 200, FORM),
        Request(NAME, "show", 200, {"attempt": 1, "status": "failed"}),
        Request(NAME, "retry", 202, {}),
        Request(NAME, "show", 200, {"attempt": 2, "status": "succeeded"}),
    ],
    hits=[],
    found={NAME: FOUND},
    stuck=[],
    jobs={JOB[:-1] + "1": 1, JOB: 1},
    listed=[NAME],
    folders=[NAME],
    differences=[],
)


def violated(evidence):
    return {name for name, problems in check(evidence).items() if problems}


def with_requests(*requests):
    return replace(SOUND, requests=[*SOUND.requests, *requests])


def with_found(found):
    return replace(SOUND, found={NAME: found})


def shown(**changes):
    return with_found(replace(FOUND, shown=SHOWN | changes))


def folder(**changes):
    return with_found(replace(FOUND, folder=replace(FOLDER, **changes)))


def ledger(number, **changes):
    lines = [dict(line) for line in LEDGER]
    lines[number] |= changes
    return folder(ledger=lines)


def test_sound_evidence_passes():
    assert violated(SOUND) == set()


def test_hostile_trainer_may_run_out_of_memory():
    """Its pod is replaced, and the killed one noted no exit."""
    name = "chaos 0001-hostile"
    plan, ledger = replace(PLAN, experiment_id=name), [*LEDGER[:3], *LEDGER[2:]]
    found = replace(FOUND, folder=replace(FOLDER, ledger=ledger))
    requests = [replace(request, experiment_id=name) for request in SOUND.requests]
    evidence = replace(SOUND, plans=[plan], requests=requests, found={name: found})
    assert "one trainer at a time" not in violated(evidence)
    assert "one trainer at a time" in violated(with_found(found))


PLANTED = [
    ("answers are documented", with_requests(Request(NAME, "show", 500))),
    ("answers are documented", with_requests(Request(NAME, "submit", 201, FORM))),
    (
        "answers are documented",
        with_requests(Request(NAME, "repeat", 200, FORM | {"created_at": "later"})),
    ),
    ("nothing is lost", with_found(Found(None))),
    ("nothing is lost", replace(with_found(Found(None, {}, FOLDER)), requests=[])),
    ("nothing is lost", with_found(replace(FOUND, folder=None))),
    ("nothing is lost", replace(SOUND, listed=[NAME, NAME])),
    ("nothing is lost", replace(SOUND, listed=[])),
    ("nothing is lost", replace(SOUND, folders=[NAME, "nobody's"])),
    ("nothing is lost", with_requests(Request(NAME, "delete", 204))),
    ("nothing is stuck", replace(SOUND, stuck=[NAME])),
    ("one Job per attempt", replace(SOUND, jobs=SOUND.jobs | {JOB: 2})),
    ("one Job per attempt", replace(SOUND, jobs={JOB: 1})),
    ("one Job per attempt", replace(SOUND, jobs=SOUND.jobs | {"another": 1})),
    ("one trainer at a time", ledger(2, alone=False)),
    ("one trainer at a time", ledger(0, attempt=2)),
    ("one trainer at a time", folder(ledger=[*LEDGER, LEDGER[2] | {"attempt": 3}])),
    ("attempts match retries", with_requests(Request(NAME, "retry", 202, {}))),
    ("status matches the trainer", ledger(3, code=1)),
    ("status matches the trainer", folder(finished=False)),
    ("status matches the trainer", shown(status="failed", diagnosis={"reason": "lost"})),
    ("status matches the trainer", shown(status="cancelled")),
    ("status matches the trainer", folder(run_file=FOLDER.run_file | {"status": "running"})),
    ("history is legal", shown(history=history(STEPS[:-1]))),
    ("history is legal", shown(history=history(STEPS[:5] + STEPS[6:]))),
    ("history is legal", shown(history=history(STEPS[4:] + STEPS[:4]))),
    ("history is legal", shown(history=history([*STEPS, (2, "succeeded", "failed")]))),
    (
        "history is legal",
        with_requests(Request(NAME, "show", 200, {"attempt": 2, "status": "running"})),
    ),
    ("metrics are complete", folder(metrics=[1, 3])),
    ("metrics are complete", folder(metrics=[1, 2, 2, 3])),
    ("metrics are complete", folder(metrics=[1, 2])),
    ("rebuild --check finds nothing", replace(SOUND, differences=["it has no folder"])),
    ("logs are kept", with_found(replace(FOUND, logs={1: "hello\n", 2: "b ends\n"}))),
]


@pytest.mark.parametrize(("name", "evidence"), PLANTED)
def test_planted_violation_is_found(name, evidence):
    assert name in violated(evidence)


def test_every_check_has_a_violation():
    assert {name for name, _ in PLANTED} == set(CHECKS)


@pytest.mark.parametrize("kind", ["runner", "trainer", "pod", "job"])
def test_fault_excuses_its_own_failure(kind):
    lines = [line for line in LEDGER if line["event"] == "start"]
    failed = {"status": "failed", "diagnosis": {"reason": "lost"}}
    steps = [*STEPS[:-1], (2, "running", "failed")]
    struck = replace(
        with_found(
            Found(
                SHOWN | failed | {"history": history(steps)},
                {1: "", 2: ""},
                Folder(FOLDER.run_file | {"status": "failed"}, False, [1, 2], lines),
            )
        ),
        requests=SOUND.requests[:-1],
    )

    assert violated(struck) == {"status matches the trainer"}
    assert violated(replace(struck, hits=[Hit(NAME, 2, kind)])) == set()
    assert violated(replace(struck, hits=[Hit(NAME, 1, kind)])) != set()


def test_truncated_log_must_say_so():
    """On Kubernetes, a log whose end nobody could read ends with a line of ours."""
    asked_to_end = SHOWN | {"cancel_requested_at": "2024-01-01T00:00:00Z"}
    lacking = replace(FOUND, logs={1: "hello\na ends\n", 2: "hello\n"})
    cancelled = replace(lacking, shown=asked_to_end)
    said = replace(lacking, logs={1: "hello\na ends\n", 2: f"hello\n{UNHEARD.decode()}\n"})
    earlier = replace(said, logs={1: "hello\n", 2: "b ends\n"})

    assert "logs are kept" in violated(with_found(lacking))
    assert "logs are kept" in violated(with_found(cancelled))
    assert "logs are kept" not in violated(with_found(said))
    assert "logs are kept" in violated(with_found(earlier))
    assert "logs are kept" in violated(replace(with_found(said), jobs=None))


def test_plan_is_reproducible():
    faults = {"one": 1, "other": 9}
    plan = make_plan(7, 40, faults)

    assert plan == make_plan(7, 40, faults)
    assert plan != make_plan(8, 40, faults)
    assert {fault.kind for fault in plan.faults} == set(faults)
    assert [fault.at for fault in plan.faults] == sorted(fault.at for fault in plan.faults)
    steps = [step for client in plan.clients for step in client]
    settled = [step.experiment for step in steps if step.action == "settle"]
    assert sorted(one.experiment_id for one in settled) == [
        one.experiment_id for one in plan.experiments
    ]


HOSTILE = NAME.replace("once", "hostile")
OUT_OF_MEMORY = {"reason": "out_of_memory"}


def hostile(diagnosis):
    """Return evidence of a hostile trainer that was killed and has overwritten its metrics."""
    steps = [*STEPS[:3], (1, "running", "failed")]
    shown = SHOWN | {"status": "failed", "attempt": 1, "diagnosis": diagnosis}
    folder = Folder(FORM | {"status": "failed", "attempt": 1}, False, [], LEDGER[:1])
    found = Found(shown | {"history": history(steps)}, {1: ""}, folder)
    return replace(
        SOUND,
        plans=[replace(PLAN, experiment_id=HOSTILE)],
        requests=[Request(HOSTILE, "submit", 201, FORM)],
        found={HOSTILE: found},
        jobs=None,
        listed=[HOSTILE],
        folders=[HOSTILE],
    )


def test_hostile_trainer():
    assert violated(hostile(OUT_OF_MEMORY)) == set()
    assert violated(hostile({"reason": "trainer_failed"})) == {"status matches the trainer"}


def test_a_look_is_no_submission():
    """The list is shown although the experiment of which it was asked does not exist."""
    looked = replace(
        SOUND,
        requests=[Request(NAME, "submit", None), Request(NAME, "look /ui", 200)],
        found={NAME: Found(None)},
        jobs=None,
        listed=[],
        folders=[],
    )
    assert violated(looked) == set()


def test_look_must_be_answered():
    request = Request(NAME, "look /ui", 500)
    assert violated(with_requests(request)) == {"answers are documented"}


@pytest.mark.parametrize(("earlier", "count"), [([], 1), ([Request(NAME, "other", None)], 0)])
def test_other_form_sent_twice(earlier, count):
    """200 is right if the answer to the same other form was lost, and only then."""
    requests = [*SOUND.requests, *earlier, Request(NAME, "other", 200, FORM)]

    assert len(check(replace(SOUND, requests=requests))["answers are documented"]) == count
