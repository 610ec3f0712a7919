"""The contract: complete, valid, committed; and kept, whatever is sent."""

import gc
import re
from contextlib import suppress
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.app import make_app
from backend.settings import Settings
from tests.fakes.launcher import FakeLauncher
from tools import openapi, postman

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("/openapi.json", "/docs", "/static", "/ui")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A stream ends when its client does, which this client never does by itself.
STREAMS = ("/events",)
# schemathesis closes no answer of a WSGI app, so a downloaded file is closed by the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
BOUNDED = settings(
    max_examples=5,
    stateful_step_count=8,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """The whole app's contract; its launcher starts nothing."""
    folder = tmp_path_factory.mktemp("contract")
    for name in ("data", "input", "output"):
        (folder / name).mkdir()
    environ = {f"{name.upper()}_DIR": str(folder / name) for name in ("data", "input", "output")}
    app = make_app(Settings.from_environment(environ), FakeLauncher())
    yield schemathesis.openapi.from_wsgi("/openapi.json", app).exclude(path_regex="|".join(STREAMS))
    gc.collect()  # here, not in another test
    app.extensions["experiments"].close()


@pytest.fixture(scope="module")
def document():
    return openapi.contract()


def test_the_committed_files_are_not_stale(document):
    why = "make openapi"
    assert (DOCS / "openapi.json").read_text() == openapi.as_text(document), why
    collection = openapi.as_text(postman.collection(document))
    assert (DOCS / "postman_collection.json").read_text() == collection, why


def test_it_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_and_method_is_in_it(app, document):
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(PAGES):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            methods = {method.lower() for method in rule.methods - {"HEAD", "OPTIONS"}}
            assert methods <= document["paths"][path].keys(), path


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_operation_says_what_it_does_takes_and_gives(document):
    names = set()
    for where, operation in operations(document):
        assert operation["summary"], where
        assert operation["description"], where
        names.add(operation["operationId"])
        for parameter in operation.get("parameters", []):
            assert parameter["schema"], (where, parameter)
            assert parameter["description"], (where, parameter)
        for status, response in operation["responses"].items():
            if "$ref" in response:
                response = document["components"]["responses"][response["$ref"].split("/")[-1]]
            assert response["description"], (where, status)
            if status[0] in "45":
                assert list(response["content"]) == ["application/problem+json"], (where, status)
    assert len(names) == len(list(operations(document)))


def test_a_form_is_described_as_a_form(document):
    for path in ("/test", "/experiments"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert next(iter(content)) == "multipart/form-data"
        assert len(content) == 3


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_answer_is_outside_the_contract(api, mode):
    """Send what the contract allows, and what it does not."""
    asked = 0
    for result in api.get_all_operations():
        operation = result.ok()
        cases = operation.as_strategy(generation_mode=mode)

        @BOUNDED
        @given(cases)
        def check(case):
            _without_streams(case)
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # an operation that takes nothing takes nothing wrong
            check()
            asked += 1
    assert asked > 8


def test_no_sequence_of_requests_leads_outside_the_contract(api):
    class Machine(api.as_state_machine()):
        def before_call(self, case):
            _without_streams(case)

        def validate_response(self, response, case, **options):
            case.validate_response(response, checks=CHECKS)

    Machine.run(settings=BOUNDED)


def _without_streams(case):
    if isinstance(case.query, dict):
        case.query.pop("follow", None)
