"""Ends the web workers of a master that was killed.

Nothing would stop or replace them, and they would keep the address from the next master.
"""

import os
import signal
import threading
import time

from gunicorn.workers.base import Worker

GRACE_SECONDS = 1.0  # for the requests that an orphan is answering


class MasterPipe:
    """A pipe whose writing end only the master keeps open: its end of file is the master's end.

    Unlike a parent process id, it needs no polling, and it cannot miss a master that was killed
    before its worker first looked.
    """

    def __init__(self) -> None:
        """Open the pipe, in the master, before it starts workers."""
        self._reader, self._writer = os.pipe()

    def leave_to_master(self) -> None:
        """Close the writing end, in a worker that was just forked."""
        os.close(self._writer)

    def watch(self, worker: Worker) -> None:
        """Watch in a thread for the end of the master, and then end `worker`.

        Streams end as they do at SIGTERM. The process exits after GRACE_SECONDS, whatever its
        threads are waiting for.
        """
        threading.Thread(target=self._watch, args=(worker,), name="orphan", daemon=True).start()

    def _watch(self, worker: Worker) -> None:
        os.read(self._reader, 1)  # returns at the end of file
        worker.log.warning("The master was killed: worker %s ends.", worker.pid)
        worker.handle_exit(signal.SIGTERM, None)
        time.sleep(GRACE_SECONDS)
        os._exit(1)
