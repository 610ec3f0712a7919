"""The lab platform: two processes of each role, with the MySQL and the Kubernetes of the lab.

LAB names the lab's folder. Everything in the cluster is in a namespace of its own.
"""

import os
import random
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import yaml

from tests.chaos.breaking import Pause, Platform
from tests.chaos.evidence import Hit
from tests.chaos.job_watch import JobWatch
from tests.e2e.support import OURS, kubectl, objects
from tests.integration import backend_process
from tests.integration.backend_process import Backend, free_address
from tests.integration.databases import LabMySQL

NAMESPACE = "hello-flask-chaos"
OPEN = 0o777  # pods train as another user
OF_EACH = 2
FAULTS = {
    "kill_web": 2,
    "kill_reconciler": 3,
    "kill_database": 2,
    "stop_database": 2,
    "stop_api_server": 2,
    "delete_pod": 3,
    "delete_job": 1,
}


class LabPlatform(Platform):
    """The roles are processes of this machine; database, API server and pods are real."""

    faults = FAULTS
    quiet_seconds = 150.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lab = os.environ["LAB"]
        self._cleanup = ExitStack()
        folder.chmod(0o755)
        self.outputs.chmod(OPEN)
        self._folder = folder
        self._kubeconfig = self._call_lab("cluster", "kubeconfig")
        os.environ["KUBECONFIG"] = self._kubeconfig  # for kubectl and the program
        self._mysql = LabMySQL(self._lab)
        self.environ |= {
            "DB_URL": self._mysql.database.url,
            "LAUNCHER": "kubernetes",
            "JOB_NAMESPACE": NAMESPACE,
            "JOB_CPU": "20m",
            "JOB_MEMORY": "64Mi",
            "JOB_BACKOFF_LIMIT": "1",
        }
        self._webs: list[Backend] = []
        self._reconcilers: list[Backend] = []

    def start(self) -> None:
        self._cleanup.enter_context(self._mysql.emptied())
        self._cleanup.callback(self._remove_namespace)
        self._remove_namespace()
        self.environ["AE_MODEL_IMAGE_URL"] = self._build()
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(self._objects()).encode())
        self.program = backend_process.Installation(self._folder / "program", self.environ, umask=0)
        self._cleanup.callback(self.program.close)
        self._watch = JobWatch(self._kubeconfig, NAMESPACE)
        self._cleanup.callback(self._watch.close)
        self.addresses = [free_address() for _ in range(OF_EACH)]
        self._webs = [self.program.start("web", BIND=one).ready() for one in self.addresses]
        self._reconcilers = [self.program.start("reconcile") for _ in range(OF_EACH)]

    def heal(self) -> None:
        for one in self._webs:
            one.ready()

    def close(self) -> None:
        self._cleanup.close()

    def jobs(self) -> dict[str, int]:
        return self._watch.counts()

    def kill_web(self, draw: random.Random, _pause: Pause) -> bool:
        """Kill one web role with its workers; its supervisor starts it again."""
        number = draw.randrange(OF_EACH)
        self._webs[number].kill_all()
        self._webs[number] = self.program.start("web", BIND=self.addresses[number])
        return True

    def kill_reconciler(self, draw: random.Random, _pause: Pause) -> bool:
        """Kill one reconciler; its supervisor starts it again."""
        number = draw.randrange(OF_EACH)
        self._reconcilers[number].kill_all()
        self._reconcilers[number] = self.program.start("reconcile")
        return True

    def kill_database(self, _draw: random.Random, pause: Pause) -> bool:
        """Kill MySQL, and start it again a moment later."""
        self._mysql.down()
        pause()
        self._mysql.up()
        return True

    def stop_database(self, _draw: random.Random, pause: Pause) -> bool:
        """Stop MySQL for a moment."""
        found = re.search(r"pid=(\d+)", self._call_lab("mysql", "status"))
        assert found
        pid = int(found[1])
        os.kill(pid, signal.SIGSTOP)
        try:
            pause()
        finally:
            os.kill(pid, signal.SIGCONT)
        return True

    def stop_api_server(self, _draw: random.Random, pause: Pause) -> bool:
        """Stop the API server, and start it again a moment later."""
        self._call_lab("cluster", "stop-apiserver")
        try:
            pause()
        finally:
            self._call_lab("cluster", "start-apiserver")
        return True

    def delete_pod(self, draw: random.Random, _pause: Pause) -> bool:
        """Delete a pod that has not ended."""
        live = {
            pod["metadata"]["name"]: pod
            for pod in objects("-n", NAMESPACE, "pods", "-l", OURS)
            if pod["status"]["phase"] not in ("Succeeded", "Failed")
        }
        return self._delete("pod", live, draw)

    def delete_job(self, draw: random.Random, _pause: Pause) -> bool:
        """Delete a Job that has not ended."""
        live = {
            job["metadata"]["name"]: job
            for job in objects("-n", NAMESPACE, "jobs", "-l", OURS)
            if not job["status"].get("conditions")
        }
        return self._delete("job", live, draw)

    def _delete(self, kind: str, live: dict[str, dict], draw: random.Random) -> bool:
        if not live:
            return False
        name = draw.choice(sorted(live))
        annotations = live[name]["metadata"]["annotations"]
        job = name if kind == "job" else live[name]["metadata"]["labels"]["job-name"]
        attempt = int(job.rpartition("-")[2])
        self.hits.append(Hit(annotations["hello-flask/experiment-id"], attempt, kind))
        kubectl("-n", NAMESPACE, "delete", kind, name, "--wait=false", "--ignore-not-found")
        return True

    def _build(self) -> str:
        """Build and push the trainer's image under a new tag, because nodes cache tags."""
        image = f"localhost:5000/hello-flask-chaos:{time.time_ns() // 1_000_000_000}"
        self._call_lab("images", "build", "-t", image, str(Path(__file__).parent))
        self._call_lab("images", "push", image)
        return image

    def _objects(self) -> list[dict]:
        """Return the namespace, and the two volumes with their claims."""
        objects: list[dict] = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        ]
        for name in ("input", "output"):
            claim = f"hello-flask-{name}"
            common = {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "volumeName": f"{NAMESPACE}-{name}",
                "resources": {"requests": {"storage": "1Gi"}},
            }
            volume = {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": str(self._folder / name), "type": "Directory"},
                "claimRef": {"namespace": NAMESPACE, "name": claim},
            }
            objects += [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolume",
                    "metadata": {"name": f"{NAMESPACE}-{name}"},
                    "spec": volume,
                },
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": claim, "namespace": NAMESPACE},
                    "spec": common,
                },
            ]
        return objects

    def _remove_namespace(self) -> None:
        gone = ("--ignore-not-found", "--timeout=170s")
        kubectl("delete", "namespace", NAMESPACE, *gone)
        kubectl("delete", "pv", f"{NAMESPACE}-input", f"{NAMESPACE}-output", *gone)

    def _call_lab(self, program: str, *arguments: str) -> str:
        # A file, not a pipe: a server that the lab starts inherits it, and keeps it open.
        log = self._folder / f"{program}.log"
        with log.open("w") as output:
            command = [f"{self._lab}/{program}", *arguments]
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, f"{command}: {log.read_text()}"
        return log.read_text().strip()
