"""A launcher that starts nothing: tests say how its runs are."""

from backend.domain.attempt import Diagnosis
from backend.launchers.base import LauncherRefused, LauncherUnavailable, Observation, Phase


class FakeLauncher:
    """Keeps what was submitted; `down` and `refusing` make it fail as a cluster would."""

    def __init__(self):
        self.jobs = {}
        self.log_source = FakeLogSource(self)
        self.submissions = 0
        self.down = False
        self.refusing = False

    def render(self, attempt):
        return {"handle": attempt.handle, "uid": attempt.uid, "run": attempt}

    def submit(self, job):
        self._check()
        self.submissions += 1
        if self.refusing:
            raise LauncherRefused(Diagnosis("job_refused", "It is refused.", "Mend it."))
        self.jobs.setdefault(job["handle"], _queued(job["run"]))
        return job["handle"]

    def observe(self, handles=None):
        self._check()
        return {job: seen for job, seen in self.jobs.items() if handles is None or job in handles}

    def changes(self, timeout):
        pass

    def cancel(self, handle):
        self._check()
        self.jobs.pop(handle, None)

    def delete_job(self, attempt):
        self._check()
        if attempt.handle in self.jobs and self.jobs[attempt.handle].uid == attempt.uid:
            del self.jobs[attempt.handle]

    def close(self):
        pass

    def _check(self):
        if self.down:
            raise LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))


class FakeLogSource:
    """What the runs print: by handle, by part, in lines; a part whose pod goes on has no end."""

    def __init__(self, launcher):
        self._launcher = launcher
        self.printed = {}
        self.ended = set()
        self.on_wait = lambda: None  # what happens while a follower waits

    def parts(self, handle):
        self._launcher._check()
        there = handle in self._launcher.jobs and {f"1-{handle}": None}
        return sorted(self.printed.get(handle, there or {}))

    def read(self, part):
        self._launcher._check()
        for parts in self.printed.values():
            if part in parts:
                return list(parts[part])
        return [b"epoch 1/20", b"epoch 2/20"]

    def follow(self, part, connected=lambda: None):
        given = 0
        while True:
            connected()
            over = part in self.ended or not any(part in one for one in self.printed.values())
            fresh = self.read(part)[given:]
            yield from fresh
            given += len(fresh)
            if over:
                return
            self.on_wait()
            yield None


def _queued(attempt):
    return Observation(attempt.uid, Phase.QUEUED, attempt=attempt)
