"""The databases that the tests run on: SQLite, a MariaDB of their own, and a MySQL server."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pymysql
from sqlalchemy import NullPool, create_engine, inspect, make_url, text

from backend.store.schema import HEAD, VERSION_TABLE
from backend.store.tables import metadata
from tests.integration.waiting import eventually
from tests.ports import reserve_port

# In an order in which they can be dropped.
TABLES = (*(table.name for table in reversed(metadata.sorted_tables)), VERSION_TABLE)
ROOT_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian keeps mariadbd


class Database:
    """One database, seen by an ordinary user who has rights on it alone.

    Attributes:
        url: the value of DB_URL.
    """

    def __init__(self, url):
        self.url = url
        self.engine = create_engine(url, poolclass=NullPool)  # the test's own, not the program's

    def execute(self, sql, **values):
        """Execute a statement as the ordinary user, and return its rows, if it has any."""
        with self.engine.begin() as connection:
            result = connection.execute(text(sql), values)
            return result.all() if result.returns_rows else []

    def tables(self):
        """Return the sorted names of all tables."""
        with self.engine.connect() as connection:
            return sorted(inspect(connection).get_table_names())

    def dump(self):
        """Return every table's definition and rows."""
        with self.engine.connect() as connection:
            tables = sorted(inspect(connection).get_table_names())
            sql = [f"SHOW CREATE TABLE {one}" for one in tables]
            if connection.dialect.name == "sqlite":
                sql = ["SELECT name, sql FROM sqlite_master"]
            definitions = [row for one in sql for row in connection.execute(text(one))]
            rows = {one: connection.execute(text(f"SELECT * FROM {one}")).all() for one in tables}
        return definitions, rows

    def drop_tables(self):
        """Drop the program's tables."""
        for table in TABLES:
            self.execute(f"DROP TABLE IF EXISTS {table}")

    def delete_rows(self):
        """Delete all experiments; drop the tables unless their schema is the current one.

        Migrating an empty database takes longer than most tests.
        """
        with self.engine.begin() as connection:
            is_current = set(TABLES) <= set(inspect(connection).get_table_names()) and (
                connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")) == HEAD
            )
            if is_current:
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
        if not is_current:
            self.drop_tables()


class Server(ABC):
    """A database server that the tests may do anything to."""

    database: Database

    @contextmanager
    def emptied(self):
        """Enter with no experiments in its database."""
        self.database.delete_rows()
        yield self.database

    @abstractmethod
    def root(self, sql):
        """Execute a statement with all rights."""

    @abstractmethod
    def down(self):
        """Kill the server."""

    @abstractmethod
    def up(self):
        """Start the server again, at the same port, with its data."""

    @abstractmethod
    def pid(self):
        """Return the id of its process."""

    def restart(self):
        """Kill the server and start it again."""
        self.down()
        self.up()

    @contextmanager
    def away(self):
        """Enter with the server killed; start it again at the end."""
        self.down()
        try:
            yield
        finally:
            self.up()

    @contextmanager
    def hanging(self):
        """Enter with the server stopped: it accepts connections and never answers."""
        pid = self.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: _is_stopped(pid))
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


class MariaDB(Server):
    """A MariaDB server in a temporary folder."""

    def __init__(self):
        # Not in pytest's own folder, which only its owner may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self._socket = self._folder / "socket"
        self._user = "mysql" if os.geteuid() == 0 else None
        self._port = reserve_port()
        self._process = None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("mariadb-install-db", "--auth-root-authentication-method=normal")
        self.up()
        self.root("CREATE DATABASE runs")
        self.root("CREATE USER ordinary IDENTIFIED BY 'secret-word'")
        self.root("GRANT ALL ON runs.* TO ordinary")
        self.database = Database(
            f"mysql+pymysql://ordinary:secret-word@127.0.0.1:{self._port}/runs"
        )

    def root(self, sql):
        with pymysql.connect(user="root", unix_socket=str(self._socket)) as connection:
            connection.cursor().execute(sql)

    def down(self):
        self._process.kill()
        self._process.wait()
        self._socket.unlink(missing_ok=True)

    def up(self):
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._command("mariadbd"),
                    f"--port={self._port}",
                    "--bind-address=127.0.0.1",
                    f"--socket={self._socket}",
                    f"--pid-file={self._folder / 'pid'}",
                    # Durable enough for a test: what was committed survives a kill of the server,
                    # though not of the machine.
                    "--innodb-flush-log-at-trx-commit=2",
                    "--innodb-buffer-pool-size=16M",
                    "--loose-innodb-flush-method=nosync",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._answers)

    def pid(self):
        return self._process.pid

    def close(self):
        """Kill the server and remove its data."""
        self.database.engine.dispose()
        self.down()
        shutil.rmtree(self._folder)

    def _answers(self):
        assert self._process.poll() is None, (self._folder / "log").read_text()
        return self._socket.exists()

    def _command(self, program):
        user = [f"--user={self._user}"] if self._user else []
        datadir = f"--datadir={self._folder / 'data'}"
        return [shutil.which(program, path=ROOT_PATH), "--no-defaults", datadir, *user]

    def _run(self, program, *options):
        command = [*self._command(program), *options, "--skip-test-db"]
        subprocess.run(command, check=True, capture_output=True)


class LabMySQL(Server):
    """The MySQL server of the folder that the variable LAB names."""

    def __init__(self, lab):
        self._program = Path(lab) / "mysql"
        # Its port must stay, because other connections use it.
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("LAB_MYSQL_")}
        self.database = Database(self._call("url").strip())

    @contextmanager
    def emptied(self):
        with self._program.open() as program:
            fcntl.flock(program, fcntl.LOCK_EX)  # others may use the same server
            with super().emptied() as database:
                yield database

    def root(self, sql):
        self._call("root-sql", sql)

    def down(self):
        self._call("kill")

    def up(self):
        self._call("restart")  # keeps the port, as `up` does not

    def pid(self):
        return int(re.search(r"pid=(\d+)", self._call("status"))[1])

    def close(self):
        """Drop the program's tables."""
        with self.emptied() as database:
            database.drop_tables()

    def _call(self, *arguments):
        # The server that it starts must not hold our end of a pipe.
        with tempfile.TemporaryFile() as output:
            subprocess.run(
                [self._program, *arguments],
                env=self._environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=True,
            )
            output.seek(0)
            return output.read().decode()


class ExternalMySQL:
    """The database that TEST_MYSQL_URL names, on a server that the tests cannot control."""

    def __init__(self, url):
        url = make_url(url).set(drivername="mysql+pymysql")
        self.database = Database(url.render_as_string(hide_password=False))
        self._lock = Path(tempfile.gettempdir()) / f"hello-flask-test-mysql-{os.getuid()}"

    @contextmanager
    def emptied(self):
        """Enter with no experiments in the database, and alone in it."""
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.database.delete_rows()
            yield self.database

    def close(self):
        """Drop the program's tables."""
        with self.emptied() as database:
            database.drop_tables()


def _is_stopped(pid):
    """Return whether every thread of a process has reached its stop (Linux)."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


@contextmanager
def unresponsive_port():
    """Enter with a port that drops every packet, because the queue of its listener is full.

    A kernel whose queue is full answers no SYN (Linux, tcp_abort_on_overflow=0).
    """
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield address[1]


def port_of(database):
    """Return the port at which a database's server listens."""
    return make_url(database.url).port
