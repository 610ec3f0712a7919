"""A launcher whose Jobs are driven by a test, and which records what really became of each.

A Job is a name that exists or does not; its trainer waits, trains, has written its summary, or has
failed. The simulation has what Kubernetes and local processes have in common, and nothing that
only one of them has.
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
    """What really happened to the Jobs of one attempt, including deleted ones of the same name."""

    created: int = 0
    succeeded: bool = False
    failed: bool = False
    gone: bool = False


class SimulatedCluster:
    """The launcher and the trainers.

    Attributes:
        jobs: observations by Job name.
        ends: what really happened, by uid and attempt number.
        refusing: whether every new Job is refused permanently.
    """

    log_source = None  # logs are in the output folders already

    def __init__(self, folder_of, *, keeps_cancelled):
        """Initialise an empty cluster.

        Args:
            folder_of: returns the output folder of an experiment_id.
            keeps_cancelled: whether a cancelled Job is still observed, as `CANCELLED`.
        """
        self._folder_of, self._keeps_cancelled = folder_of, keeps_cancelled
        self.jobs = {}
        self.ends = {}
        self.refusing = False

    # The Launcher protocol

    def render(self, attempt):
        return {"handle": attempt.handle, "uid": attempt.uid, "run": attempt}

    def submit(self, job):
        attempt: Attempt = job["run"]
        existing = self.jobs.get(attempt.handle)
        if existing is not None:
            if existing.uid != attempt.uid:
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

    def waiting(self, handle):
        return ()

    def usage(self, handles):
        return {}

    def cancel(self, handle):
        observation = self.jobs.get(handle)
        if observation is None:
            return
        if observation.phase in GOING_ON and self._keeps_cancelled:
            now = datetime.now(UTC)
            has_succeeded = self.ends_of(observation.attempt).succeeded
            phase = Phase.SUCCEEDED if has_succeeded else Phase.CANCELLED
            self.jobs[handle] = replace(observation, phase=phase, finished_at=now)
        elif observation.phase in GOING_ON or not self._keeps_cancelled:
            self.remove(handle)

    def delete_job(self, attempt):
        if attempt.handle in self.jobs:
            self.remove(attempt.handle)

    def close(self):
        pass

    # What happens to Jobs, driven by the test

    def start(self, handle):
        self._become(handle, Phase.RUNNING, started_at=datetime.now(UTC), suspended=False)

    def suspend(self, handle):
        """Take back the place of a Job in its queue."""
        self._become(handle, Phase.QUEUED, suspended=True)

    def write_summary(self, handle):
        """Finish the training before anybody can observe it."""
        attempt = self.jobs[handle].attempt
        folder = self._folder_of(attempt.experiment_id)
        if folder.is_dir():  # otherwise it was deleted, and the trainer with it
            (folder / SUMMARY_FILE).write_text(json.dumps({"attempt": attempt.number}))
            self.ends_of(attempt).succeeded = True

    def succeed(self, handle):
        """Complete the Job."""
        self.write_summary(handle)
        self.ends_of(self.jobs[handle].attempt).succeeded = True
        self._become(handle, Phase.SUCCEEDED, finished_at=datetime.now(UTC))

    def fail(self, handle):
        self.ends_of(self.jobs[handle].attempt).failed = True
        self._become(handle, Phase.FAILED, finished_at=datetime.now(UTC), diagnosis=FAILED)

    def remove(self, handle):
        """Delete the Job, as its time-to-live or a person does."""
        self.ends_of(self.jobs.pop(handle).attempt).gone = True

    def live(self):
        """Return the attempts whose Jobs have not ended."""
        return [job.attempt for job in self.jobs.values() if job.phase in GOING_ON]

    def ends_of(self, attempt):
        return self.ends.setdefault((attempt.uid, attempt.number), Ends())

    def _become(self, handle, phase, **changes):
        self.jobs[handle] = replace(self.jobs[handle], phase=phase, **changes)
