import pytest

from hello_flask import Client
from hello_flask.configuration import Configuration
from hello_flask.transport import Transport
from tests.fakes.scripted_server import ScriptedServer


class Clock:
    """A clock that only pauses move."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def read(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server():
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def transport(server, clock):
    configuration = Configuration(server.url, "secret-token")
    return Transport(configuration, sleep=clock.sleep, clock=clock.read)


@pytest.fixture
def client(transport):
    return Client(transport=transport)
