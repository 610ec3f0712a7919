"""A fake Kubernetes API server that serves the official client over HTTP.

`kubernetes_cluster.py` holds the cluster itself; this module adds HTTP, and the faults that tests
inject into it.
"""

import contextlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.kubernetes_cluster import Cluster
from tests.fakes.kubernetes_store import Refused
from tests.ports import reserve_port

TOKEN = "test-token"
PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>batch|coordination.k8s.io)/v1|apis/kueue.x-k8s.io/(?P<kueue>v\w+)"
    r"|apis/(?P<metrics>metrics.k8s.io)/v1beta1)"
    r"(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>jobs|pods|nodes|events|persistentvolumes|persistentvolumeclaims|leases"
    r"|services|workloads)(?:/(?P<name>[^/]+))?(?:/(?P<part>log))?"
)
KUEUE_GROUP = "/apis/kueue.x-k8s.io"
LISTING = {"labelSelector", "fieldSelector", "resourceVersion", "watch", "timeoutSeconds"}
LISTING |= {"limit", "continue"}
READABLE = {"jobs", "pods", "nodes", "services", "persistentvolumes", "persistentvolumeclaims"}
LOGGING = {"follow", "timestamps", "sinceTime"}
CREATING = {"dryRun"}
DELETING = {"propagationPolicy", "gracePeriodSeconds"}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request.

    Attributes:
        error: the answer. Without one there is no answer, and the connection is cut.
        hang: whether the connection hangs until the server is stopped, instead of being cut.
        stored: whether the request is carried out nevertheless.
        half: whether the answer breaks off in the middle.
        garbage: whether a proxy answers with an HTML page of its own.
    """

    error: Refused | None = None
    hang: bool = False
    stored: bool = False
    half: bool = False
    garbage: bool = False


def forbidden(verb="create", resource="jobs", group="batch"):
    """Return the fault of a request that RBAC forbids."""
    return Fault(
        Refused(
            403,
            "Forbidden",
            f"{resource}{'.' if group else ''}{group} is forbidden: User "
            f'"system:serviceaccount:default:default" cannot {verb} resource "{resource}" in API '
            f'group "{group}" in the namespace "default"',
        )
    )


def quota_exceeded():
    """Return the fault of a request that a ResourceQuota forbids."""
    return Fault(
        Refused(
            403,
            "Forbidden",
            'jobs.batch "a" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, '
            "used: count/jobs.batch=5, limited: count/jobs.batch=5",
        )
    )


def recreated():
    """Return the fault of a failed UID precondition: the object was deleted and recreated."""
    return Fault(
        Refused(
            409,
            "Conflict",
            'Operation cannot be fulfilled on jobs.batch "a": Precondition failed: UID in '
            "precondition: 1, UID in object meta: 2",
        )
    )


def invalid():
    """Return the fault of a request that validation or an admission webhook refuses."""
    return Fault(
        Refused(
            422,
            "Invalid",
            'Job.batch "a" is invalid: spec.template.spec.containers[0].image: Required value',
        )
    )


def broken(code=500):
    """Return the fault of a server that answers but does not work, for example without etcd."""
    reason = {429: "TooManyRequests", 503: "ServiceUnavailable"}.get(code, "InternalError")
    return Fault(Refused(code, reason, "etcdserver: request timed out"))


class FakeKubernetes(Cluster):
    """The API server. Its objects and its port survive `stop` and `start`.

    Attributes:
        requests: (verb, resource, name, monotonic time) of each request, in order.
        watches_end_at_once: whether watches end as soon as they have sent the known events.
        connections: the handlers of open connections.
        kueue: the Kueue of the cluster, if it has one (`kueue.py`).
    """

    def __init__(self):
        super().__init__()
        self.requests = []
        self.watches_end_at_once = False
        self.connections = set()
        self.kueue = None
        self._faults = []  # [verb, resource, fault, remaining times]
        self._port = reserve_port()  # nothing takes it while the server is stopped
        self._server = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_error):
        self.stop()

    def start(self):
        """Start listening."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _Handler)
        self._server.api = self
        self._server.stopped = threading.Event()
        arguments = {"poll_interval": 0.02}
        threading.Thread(target=self._server.serve_forever, kwargs=arguments, daemon=True).start()

    def stop(self):
        """Cut all connections and refuse new ones."""
        server, self._server = self._server, None
        if server is None:
            return
        server.stopped.set()
        server.shutdown()
        server.server_close()
        with self.changed:
            for connection in list(self.connections):
                connection.cut()
            self.changed.notify_all()

    def write_kubeconfig(self, path):
        """Write a kubeconfig file for this server, and return its path."""
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(json.dumps(config))  # JSON is YAML
        return path

    def fail(self, verb, resource, fault, times=1):
        """Make the next `times` requests of that verb and resource fail with `fault`."""
        with self.changed:
            self._faults.append([verb, resource, fault, times])

    def clear_faults(self):
        """Remove all faults."""
        with self.changed:
            self._faults.clear()

    def count(self, verb, resource):
        """Return the number of such requests so far."""
        return len(self.times(verb, resource))

    def times(self, verb, resource):
        """Return the monotonic times of such requests, in seconds."""
        return [request[3] for request in self.requests if request[:2] == (verb, resource)]

    def take_fault(self, verb, resource):
        """Return the fault that the next such request meets, or None."""
        for entry in self._faults:
            if entry[:2] == [verb, resource] and entry[3] > 0:
                entry[3] -= 1
                return entry[2]
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as Go does

    def setup(self):
        super().setup()
        self.server.api.connections.add(self)

    def finish(self):
        self.server.api.connections.discard(self)
        super().finish()

    def handle(self):
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client or `stop` has cut the connection

    def cut(self):
        """Cut the connection from another thread."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self):
        self._answer("get")

    def do_POST(self):
        self._answer("create")

    def do_PUT(self):
        self._answer("update")

    def do_DELETE(self):
        self._answer("delete")

    def log_message(self, *_arguments):
        pass

    def _answer(self, verb):
        api, url = self.server.api, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        if len(content) < length:  # the client has died
            self.close_connection = True
            return
        body = json.loads(content) if content else None
        query = dict(parse_qsl(url.query))
        found = PATH.fullmatch(url.path)
        if url.path == KUEUE_GROUP and api.kueue:
            self._send(200, api.kueue.group())
            return
        if not found or (found["resource"] == "workloads") != bool(found["kueue"]):
            self._send(404, Refused(404, "NotFound", "the server could not find it").status)
            return
        if found["kueue"] and not (api.kueue and found["kueue"] == api.kueue.version):
            self._send(404, Refused(404, "NotFound", "the server could not find it").status)
            return
        resource, namespace, name = found["resource"], found["namespace"], found["name"]
        if found["part"]:
            resource += f"/{found['part']}"
        if found["metrics"]:
            resource += f".{found['metrics']}"
        if verb == "get" and name is None:
            verb = "watch" if query.get("watch") in ("true", "True", "1") else "list"
        with api.changed:
            target = name or (body or {}).get("metadata", {}).get("name")
            api.requests.append((verb, resource, target, time.monotonic()))
            fault = api.take_fault(verb, resource)
            if fault and not fault.stored and not fault.half:
                answer = None
            else:
                answer = self._carry_out(verb, resource, namespace, name, query, body)
        if fault:
            self._send_fault(fault, answer)
        elif verb == "watch":
            self._stream(resource, namespace, query)
        elif query.get("follow") == "true" and answer[0] == 200:
            self._stream_log(namespace, name, query)
        else:
            self._send(*answer)

    def _carry_out(self, verb, resource, namespace, name, query, body):
        """Carry out a request, and return its status and content."""
        api = self.server.api
        known = {"list": LISTING, "watch": LISTING, "delete": DELETING, "create": CREATING}
        known = known.get(verb, set())
        known = LOGGING if resource == "pods/log" else known
        try:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            if unknown := query.keys() - known:
                raise Refused(400, "BadRequest", f"this server does not know {unknown}")
            match verb, resource:
                case "create", "leases":
                    return 201, api.create_lease(namespace, body)
                case "update", "leases":
                    return 200, api.update_lease(namespace, name, body)
                case "get", "leases":
                    return 200, api.read(resource, namespace, name)
                case "create", "jobs":
                    is_dry_run = query.get("dryRun") == "All"
                    created = api.create(resource, namespace, body, is_dry_run=is_dry_run)
                    is_taken_up = api.kueue and not is_dry_run
                    return 201, api.kueue.take_up(created) if is_taken_up else created
                case "list", "jobs" | "pods" | "workloads":
                    limit = int(query.get("limit") or 0)
                    selector = query.get("labelSelector", "")
                    api.check_version(resource, int(query.get("resourceVersion") or 0))
                    first = int(query.get("continue") or 0)
                    return 200, api.listing(resource, namespace, selector, limit, first)
                case "list", "pods.metrics.k8s.io" if api.serves_metrics:
                    return 200, api.pod_metrics(namespace, query.get("labelSelector", ""))
                case "list", "pods.metrics.k8s.io":
                    return 404, "404 page not found\n"
                case "list", "events":
                    assert query.pop("fieldSelector") == "type=Warning"
                    return 200, api.listing(resource, namespace, "", int(query["limit"]))
                case "list", "nodes":
                    return 200, api.listing(resource, None, "", 0)
                case "get", _ if resource in READABLE:
                    return 200, api.read(resource, namespace, name)
                case "get", "pods/log":
                    return 200, api.log(namespace, name, query)
                case "delete", "jobs":
                    options = (body or {}) | query
                    propagation = options.get("propagationPolicy", "Orphan")
                    return 200, api.delete(resource, namespace, name, propagation)
                case "watch", "jobs" | "pods":
                    return 200, None
                case _:
                    raise Refused(405, "MethodNotAllowed", "not supported on this resource")
        except Refused as error:
            return error.code, error.status

    def _send_fault(self, fault, answer):
        if fault.error:
            self._send(fault.error.code, fault.error.status)
            return
        if fault.garbage:
            self._send(200, "<html>Welcome</html>")
            return
        self.close_connection = True
        if fault.half:
            content = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        if fault.hang:
            self.server.stopped.wait()

    def _send(self, code, content):
        text = isinstance(content, str)
        data = content.encode() if text else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, resource, namespace, query):
        self._begin_stream("application/json")
        events = self.server.api.events(
            resource,
            namespace,
            query.get("labelSelector", ""),
            int(query["resourceVersion"]),
            0 if self.server.api.watches_end_at_once else float(query["timeoutSeconds"]),
            self.server.stopped,
        )
        for event in events:
            if event is None:
                self.close_connection = True
                return
            self._write_chunk(json.dumps(event).encode() + b"\n")
        self.wfile.write(b"0\r\n\r\n")

    def _stream_log(self, namespace, name, query):
        self._begin_stream("text/plain")
        api, stopped = self.server.api, self.server.stopped
        for piece in api.follow_log(namespace, name, query, stopped):
            if piece is None:
                self.close_connection = True
                return
            if piece:
                self._write_chunk(piece)
        self.wfile.write(b"0\r\n\r\n")

    def _begin_stream(self, content_type):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _write_chunk(self, content):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()
