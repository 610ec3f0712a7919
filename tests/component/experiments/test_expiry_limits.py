"""How many ended Jobs one pass deletes, and that none is kept for ever."""

from datetime import UTC, datetime, timedelta
from itertools import count

from backend.experiments.reconciling.expiry import LONGEST_SECONDS, Expiry
from backend.experiments.reconciling.isolation import Isolation
from backend.launchers.base import Observation, Phase

JOBS = 30


def test_a_pass_deletes_as_many_as_its_time_allows(services, launcher, make_experiment):
    """The others are deleted in later passes, also if some cannot be deleted at all."""
    experiments = [
        make_experiment(f"e{number}", Phase.RUNNING, Phase.SUCCEEDED) for number in range(JOBS)
    ]
    ended = datetime.now(UTC) - timedelta(hours=1)
    observed = {
        one.job: Observation(
            one.uid, Phase.SUCCEEDED, attempt=one.current_attempt, finished_at=ended
        )
        for one in experiments
    }
    isolation = Isolation(lambda: None)
    seconds = count(step=LONGEST_SECONDS / 5)
    expiry = Expiry(services.archive, services.logs, launcher, 60, isolation, lambda: next(seconds))

    expiry.expire(observed)

    assert 0 < JOBS - len(launcher.jobs) <= 6
    passes = 1
    while launcher.jobs:
        expiry.expire({name: seen for name, seen in observed.items() if name in launcher.jobs})
        passes += 1
        assert passes < JOBS
    assert passes >= JOBS / 6
