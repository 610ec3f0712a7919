"""A launcher that starts nothing: tests say how its runs are."""

from backend.launchers.base import (
    Diagnosis,
    LauncherRefused,
    LauncherUnavailable,
    Observation,
    Phase,
)


class FakeLauncher:
    """Keeps what was submitted; `down` and `refusing` make it fail as a cluster would."""

    keeps_logs = False

    def __init__(self):
        self.jobs = {}
        self.submissions = 0
        self.down = False
        self.refusing = False

    def render(self, run):
        return {"handle": run.handle, "uid": run.uid, "run": run}

    def submit(self, job):
        self._check()
        self.submissions += 1
        if self.refusing:
            raise LauncherRefused(Diagnosis("job_refused", "It is refused.", "Mend it."))
        self.jobs.setdefault(job["handle"], _queued(job["run"]))
        return job["handle"]

    def observe(self):
        self._check()
        return dict(self.jobs)

    def changes(self, timeout):
        pass

    def logs(self, handle):
        self._check()
        return iter(["epoch 1/20", "epoch 2/20"] if handle in self.jobs else [])

    def cancel(self, handle):
        self._check()
        self.jobs.pop(handle, None)

    def forget(self, handle):
        self.cancel(handle)

    def close(self):
        pass

    def _check(self):
        if self.down:
            raise LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))


def _queued(run):
    return Observation(run.uid, Phase.QUEUED, run=run)
