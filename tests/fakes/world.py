"""A launcher whose runs do what a test says, and which remembers what really became of each.

A Job is a name. It is there or it is not; its trainer waits, runs, has written its summary, has
failed. What Kubernetes and a machine have in common is here, and nothing that only one of them has.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from backend.domain.attempt import Attempt, Diagnosis
from backend.files.outputs import SUMMARY_FILE
from backend.launchers.base import LauncherRefused, LauncherUnavailable, Observation, Phase

GOING_ON = (Phase.QUEUED, Phase.RUNNING)
FAILED = Diagnosis("trainer_failed", "It failed.", "Look.")


@dataclass
class Ends:
    """What really happened to the Jobs of one attempt, all of those that had its name."""

    created: int = 0
    succeeded: bool = False
    failed: bool = False
    gone: bool = False


class World:
    """Launcher and trainers. `refusing` makes every new Job impossible for good."""

    log_source = None  # each lies in its run's folder by itself

    def __init__(self, folder_of, *, keeps_cancelled):
        """`keeps_cancelled`: a cancelled run is seen as such, and not just gone."""
        self._folder_of, self._keeps_cancelled = folder_of, keeps_cancelled
        self.jobs = {}
        self.ends = {}  # by uid and attempt
        self.refusing = False

    # The launcher

    def render(self, attempt):
        return {"handle": attempt.handle, "uid": attempt.uid, "run": attempt}

    def submit(self, job):
        attempt: Attempt = job["run"]
        there = self.jobs.get(attempt.handle)
        if there is not None:
            if there.uid != attempt.uid:
                raise LauncherUnavailable(Diagnosis("job_name_taken", "Taken.", "Delete it."))
            return attempt.handle
        if self.refusing:
            raise LauncherRefused(Diagnosis("job_refused", "It is refused.", "Mend it."))
        self.jobs[attempt.handle] = Observation(attempt.uid, Phase.QUEUED, attempt=attempt)
        self.ends_of(attempt).created += 1
        return attempt.handle

    def observe(self, jobs=None):
        return dict(self.jobs)

    def changes(self, timeout):
        pass

    def logs(self, handle):
        return iter(())

    def cancel(self, handle):
        seen = self.jobs.get(handle)
        if seen is None:
            return
        if seen.phase in GOING_ON and self._keeps_cancelled:
            now = datetime.now(UTC)
            phase = Phase.SUCCEEDED if self.ends_of(seen.attempt).succeeded else Phase.CANCELLED
            self.jobs[handle] = replace(seen, phase=phase, finished_at=now)
        elif seen.phase in GOING_ON or not self._keeps_cancelled:
            self.remove(handle)

    def delete_job(self, attempt):
        if attempt.handle in self.jobs:
            self.remove(attempt.handle)

    def close(self):
        pass

    # What happens to the Jobs by itself

    def start(self, handle):
        self._become(handle, Phase.RUNNING, started_at=datetime.now(UTC))

    def write_summary(self, handle):
        """Let the trainer come to its end, and nobody know yet."""
        attempt = self.jobs[handle].attempt
        folder = self._folder_of(attempt.experiment_id)
        if folder.is_dir():  # else it was deleted, and the trainer with it
            (folder / SUMMARY_FILE).write_text(json.dumps({"attempt": attempt.number}))
            self.ends_of(attempt).succeeded = True

    def succeed(self, handle):
        """Let the Job be complete."""
        self.write_summary(handle)
        self.ends_of(self.jobs[handle].attempt).succeeded = True
        self._become(handle, Phase.SUCCEEDED, finished_at=datetime.now(UTC))

    def fail(self, handle):
        self.ends_of(self.jobs[handle].attempt).failed = True
        self._become(handle, Phase.FAILED, finished_at=datetime.now(UTC), diagnosis=FAILED)

    def remove(self, handle):
        """Let its time-to-live, or a person, take it."""
        self.ends_of(self.jobs.pop(handle).attempt).gone = True

    def live(self):
        """Give the runs whose Job goes on."""
        return [seen.attempt for seen in self.jobs.values() if seen.phase in GOING_ON]

    def ends_of(self, attempt):
        return self.ends.setdefault((attempt.uid, attempt.number), Ends())

    def _become(self, handle, phase, **changes):
        self.jobs[handle] = replace(self.jobs[handle], phase=phase, **changes)
