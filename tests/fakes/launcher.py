"""A launcher that starts nothing: tests set the observations of its Jobs."""

from backend.domain.attempt import Diagnosis
from backend.launchers.base import LauncherRefused, LauncherUnavailable, Observation, Phase


class FakeLauncher:
    """Keeps submitted Jobs in memory.

    Attributes:
        jobs: observations by handle.
        queue: the handles that `waiting` returns.
        used: what `usage` returns, by handle.
        submissions: how often `submit` was called while the launcher was up.
        down: whether every call fails, as if the cluster did not answer.
        refusing: whether new Jobs are refused.
    """

    def __init__(self):
        self.jobs = {}
        self.log_source = FakeLogSource(self)
        self.submissions = 0
        self.queue = []
        self.used = {}
        self.down = False
        self.refusing = False

    def render(self, attempt):
        return {"handle": attempt.handle, "uid": attempt.uid, "run": attempt}

    def submit(self, job):
        self.check_up()
        self.submissions += 1
        if self.refusing:
            raise LauncherRefused(Diagnosis("job_refused", "It is refused.", "Mend it."))
        self.jobs.setdefault(job["handle"], _queued(job["run"]))
        return job["handle"]

    def observe(self, handles=None):
        self.check_up()
        return {job: seen for job, seen in self.jobs.items() if handles is None or job in handles}

    def changes(self, timeout):
        pass

    def waiting(self, handle):
        return self.queue if handle in self.queue else []

    def usage(self, handles):
        return {handle: usage for handle, usage in self.used.items() if handle in handles}

    def cancel(self, handle):
        self.check_up()
        self.jobs.pop(handle, None)

    def delete_job(self, attempt):
        self.check_up()
        if attempt.handle in self.jobs and self.jobs[attempt.handle].uid == attempt.uid:
            del self.jobs[attempt.handle]

    def close(self):
        pass

    def check_up(self):
        """Raise LauncherUnavailable if the launcher is down."""
        if self.down:
            raise LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))


class FakeLogSource:
    """What trainers print.

    Attributes:
        printed: lines, by handle and then by part.
        ended: parts whose pod has ended; a follower waits at the end of the others.
        on_wait: called while a follower waits.
    """

    def __init__(self, launcher):
        self._launcher = launcher
        self.printed = {}
        self.ended = set()
        self.on_wait = lambda: None

    def parts(self, handle):
        self._launcher.check_up()
        default = {f"1-{handle}": None} if handle in self._launcher.jobs else {}
        return sorted(self.printed.get(handle, default))

    def read(self, part):
        self._launcher.check_up()
        for parts in self.printed.values():
            if part in parts:
                return list(parts[part])
        return [b"epoch 1/20", b"epoch 2/20"]

    def departures(self, timeout):
        return []

    def follow(self, part, connected=lambda: None, *, has_started=False):
        sent = 0
        while True:
            connected()
            is_known = any(part in parts for parts in self.printed.values())
            has_ended = part in self.ended or not is_known
            fresh = self.read(part)[sent:]
            yield from fresh
            sent += len(fresh)
            if has_ended:
                return
            self.on_wait()
            yield None


def _queued(attempt):
    return Observation(attempt.uid, Phase.QUEUED, attempt=attempt)
