from backend.domain.status import LIVE, REQUEUED, Status, path


def test_paths_are_legal():
    for old in Status:
        for new in Status:
            steps = path(old, new)
            assert not steps or (steps[0] is old and steps[-1] is new)
            assert bool(steps) <= (old in LIVE)
    assert path(Status.SUBMITTING, Status.RUNNING) == ["submitting", "queued", "running"]
    assert path(*REQUEUED) == []  # only what a launcher saw leads back
    assert path(Status.QUEUED, Status.CANCELLED) == ["queued", "cancelled"]
