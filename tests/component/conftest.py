import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from tests.fixtures import (  # noqa: F401
    anonymous,
    app,
    archive,
    client,
    delete_rows,
    experiments,
    launcher,
    make_experiment,
    protected_app,
    reconciler,
    services,
    settings,
    signed_in,
    store,
    token_file,
)


class Outage:
    """Between `begin` and `end`, every statement fails as if the database were unavailable."""

    def __init__(self):
        self._is_on = False

    def begin(self):
        self._is_on = True

    def end(self):
        self._is_on = False

    def before_execute(self, *_arguments):
        if self._is_on:
            raise OperationalError(None, None, Exception("Access denied for user 'secret'"))


@pytest.fixture
def outage():
    outage = Outage()
    event.listen(Engine, "before_cursor_execute", outage.before_execute)
    yield outage
    event.remove(Engine, "before_cursor_execute", outage.before_execute)
