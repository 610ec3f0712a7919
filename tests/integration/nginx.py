"""Debian's nginx before servers of a test, as the documentation configures it."""

import getpass
import shutil
import socket
import subprocess
from contextlib import suppress

from tests.conftest import ADMIN_PATH
from tests.integration.waiting import eventually
from tests.ports import reserve_port

CONFIGURATION = """\
daemon off;
user {user};
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
  include /etc/nginx/mime.types;
  access_log {folder}/access.log;
  {paths}
  {before}
  server {{
    listen 127.0.0.1:{port}{ssl};
    {certificate}
    {server}
  }}
}}
"""
PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """A running nginx; `url` is its address, without a slash at the end."""

    def __init__(self, folder, server, *, before="", certificate=None):
        """Start nginx.

        Args:
            folder: for its files.
            server: what stands in the block `server`.
            before: what stands before that block, such as `upstream`.
            certificate: the files of a certificate and its key, for https.
        """
        port = reserve_port()
        files = "ssl_certificate {}; ssl_certificate_key {};".format(*certificate or ("", ""))
        path = folder / "nginx.conf"
        path.write_text(
            CONFIGURATION.format(
                user=getpass.getuser(),
                folder=folder,
                paths="".join(f"{name}_temp_path {folder}/{name};" for name in PATHS),
                before=before,
                port=port,
                ssl=" ssl" if certificate else "",
                certificate=files if certificate else "",
                server=server,
            )
        )
        self._errors = folder / "error.log"
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [shutil.which("nginx", path=ADMIN_PATH), "-e", str(self._errors), "-c", str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: self._listens(port))

    def close(self):
        self._process.terminate()
        self._process.wait()

    def _listens(self, port):
        assert self._process.poll() is None, self._errors.read_text()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return True
        return False
