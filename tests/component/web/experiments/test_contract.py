"""The OpenAPI document is complete, valid and committed, and every answer conforms to it."""

import gc
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.app import create_app
from backend.experiments.reconciler import Reconciler
from backend.settings import Settings
from tests.fakes.launcher import FakeLauncher
from tools import openapi, postman

DOCS = Path(__file__).parents[4] / "docs"
PAGES = ("/openapi.json", "/docs", "/static", "/ui")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# A stream ends when its client disconnects, which this client never does.
STREAMS = ("/events",)
SUBMISSIONS = ("AutoencoderExperiment", "ExperimentInForm", "ExperimentInMultipart")
SHARED = ("experiment_id", "model", "dataset", "size")
LIFE = r"^/test$|^/experiments/{experiment_id}(/cancel|/retry|/files)?$"
# schemathesis does not close answers of a WSGI app: the garbage collector closes their files.
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
    """The schema of the whole app; its launcher starts nothing."""
    folder = tmp_path_factory.mktemp("contract")
    for name in ("data", "input", "output"):
        (folder / name).mkdir()
    environ = {f"{name.upper()}_DIR": str(folder / name) for name in ("data", "input", "output")}
    app = create_app(Settings.from_environment(environ), FakeLauncher())
    yield schemathesis.openapi.from_wsgi("/openapi.json", app).exclude(path_regex="|".join(STREAMS))
    gc.collect()  # unclosed files warn here, not in another test
    app.extensions["services"].close()


class ReconciledApp:
    """The app, with a reconciler that makes a pass after each request."""

    def __init__(self, app, launcher, output_dir, delete_rows):
        self.app, self._launcher, self._output_dir = app, launcher, output_dir
        self._delete_rows = delete_rows
        self.reconcile = Reconciler(app.extensions["services"], ttl_seconds=60).reconcile

    def empty(self):
        """Delete everything, so that each sequence of requests begins with nothing."""
        self._delete_rows()
        self._launcher.jobs.clear()
        for folder in self._output_dir.iterdir():
            shutil.rmtree(folder)


@pytest.fixture
def reconciled_app(app, launcher, settings, delete_rows):
    app.extensions["services"].store.prepare()
    yield ReconciledApp(app, launcher, settings.output_dir, delete_rows)
    gc.collect()


@pytest.fixture(scope="module")
def document():
    return openapi.contract()


def test_committed_files_are_current(document):
    why = "make openapi"
    assert (DOCS / "openapi.json").read_text() == openapi.as_text(document), why
    collection = openapi.as_text(postman.collection(document))
    assert (DOCS / "postman_collection.json").read_text() == collection, why


def test_document_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_documented(app, document):
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(PAGES):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            methods = {method.lower() for method in rule.methods - {"HEAD", "OPTIONS"}}
            assert methods <= document["paths"][path].keys(), path


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_operations_are_described(document):
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
            for kind, content in response.get("content", {}).items():
                if kind.startswith(("text/", "application/json", "application/problem+json")):
                    validator = OAS31Validator(
                        content["schema"] | {"components": document["components"]}
                    )
                    validator.validate(content["example"])
    assert len(names) == len(list(operations(document)))


def test_examples_of_requests_are_valid(document):
    """What /docs offers to send is what the schemas accept."""
    for where, operation in operations(document):
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            for source in (parameter, schema):
                for example in (source[key] for key in ("example", "default") if key in source):
                    OAS31Validator(schema).validate(example)
                    assert example is not None, where
    names = [name for name in document["components"]["schemas"] if name.startswith("ExperimentIn")]
    assert len(names) == 3
    for name in [*SUBMISSIONS, *names]:
        schema = document["components"]["schemas"][name]
        for one in schema.get("oneOf", [schema]):
            if "$ref" in one:
                one = document["components"]["schemas"][one["$ref"].split("/")[-1]]
            example = {field: content["example"] for field, content in one["properties"].items()}
            OAS31Validator(one).validate(example)
            assert not [field for field in SHARED if "default" in one["properties"].get(field, {})]


@pytest.mark.parametrize("schema", SUBMISSIONS)
def test_example_of_a_submission_is_accepted(app, document, settings, schema):
    settings.input_dir.mkdir(exist_ok=True)
    (settings.input_dir / "digits.npz").touch()
    properties = document["components"]["schemas"][schema]["properties"]
    example = {name: field["example"] for name, field in properties.items()}
    client = app.test_client()

    assert client.post("/test", data=example).status_code == 201
    assert client.post("/experiments", json=example).status_code == 200


def test_form_content_types(document):
    for path in ("/test", "/experiments"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert next(iter(content)) == "multipart/form-data"
        assert len(content) == 3


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_answers_conform(api, mode):
    """Send what the contract allows, and what it does not."""
    checked = 0
    for result in api.get_all_operations():
        with suppress(Unsatisfiable):  # without input there is no wrong input
            send_examples(result.ok(), mode)
            checked += 1
    assert checked > 8


HOSTILE = [
    "\0",
    "\r\nX-Injected: 1",
    "\ud800",
    "\ufffd",
    "\u202e\u200b",
    "9" * 30,
    str(2**63),
    "-1",
    "0_1",
    "٣",
    "1e999",
    "NaN",
    "실험" * 200,
    "%",
    "_",
    "'\"\\;--",
    "../..",
    "{}",
    "[" * 2000,
    f"2026-01-31T12:00:00.000000Z~{2**64}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_texts_are_the_clients_mistake(api, app, text):
    """Send one text as every parameter and every field: no answer is a server error."""
    client = app.test_client()
    part = quote(text, safe="", errors="surrogatepass")
    for result in api.get_all_operations():
        operation = result.ok()
        if operation.path.startswith("/events"):
            continue
        path = re.sub(r"{\w+}", part, operation.path)
        names = [one["name"] for one in operation.definition.raw.get("parameters", [])]
        queries = [f"{name}={part}" for name in names if name not in operation.path] or [""]
        fields = dict.fromkeys(("learning_rate", "epoch", "experiment_id", "dataset"), text)
        bodies = [{"data": {name: _sendable(value) for name, value in fields.items()}}]
        bodies += [
            {"data": json.dumps(content), "content_type": "application/json"}
            for content in (fields, {text: text}, {"epoch": {text: [text]}}, [text])
        ]
        for query in queries:
            for body in bodies if operation.method.upper() in ("POST", "PUT") else [{}]:
                response = client.open(f"{path}?{query}", method=operation.method, **body)
                where = (operation.method, path[:80], query[:80], response.text[:300])
                assert response.status_code < 500, where
                assert "X-Injected" not in response.headers, where
                response.close()


def _sendable(text):
    """Return text that a form can hold: an unpaired surrogate cannot be written as UTF-8."""
    return text.encode(errors="replace").decode()


def send_examples(operation, mode):
    @BOUNDED
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        _without_streams(case)
        case.call_and_validate(checks=CHECKS)

    check()


def test_sequences_conform(reconciled_app):
    """Submit, show, cancel, retry and delete in any order; each answer leads to the next."""
    positive = SchemathesisConfig.from_dict({"generation": {"mode": "positive"}})
    schema = schemathesis.openapi.from_wsgi("/openapi.json", reconciled_app.app, config=positive)
    life = schema.include(path_regex=LIFE).exclude(method="PATCH")  # which changes no status
    answered = set()

    class Machine(life.as_state_machine()):
        def setup(self):
            reconciled_app.empty()

        def after_call(self, response, case):
            reconciled_app.reconcile()

        def validate_response(self, response, case, **options):
            answered.add(
                (case.method, case.operation.path.rpartition("}")[2], response.status_code)
            )
            case.validate_response(response, checks=CHECKS)

    Machine.run(settings=settings(BOUNDED, max_examples=60, stateful_step_count=12))

    assert answered >= {
        ("POST", "/test", 201),
        ("GET", "", 200),
        ("POST", "/cancel", 202),
        ("DELETE", "", 204),
    }


@pytest.mark.parametrize(
    "broken",
    [
        lambda: 1 / 0,
        lambda: {"status": 1},
        lambda: {"state": "ok", "status": "ok"},
        lambda: ({"status": "ok"}, 202),
        lambda: "ok",
    ],
    ids=["500", "type", "field", "status", "content type"],
)
def test_violation_is_found(reconciled_app, broken):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", reconciled_app.app)
    reconciled_app.app.view_functions["health.healthz"] = broken  # after the schema was read

    with pytest.raises((FailureGroup, ZeroDivisionError)):
        send_examples(schema["/healthz"]["GET"], schemathesis.GenerationMode.POSITIVE)


def _without_streams(case):
    if isinstance(case.query, dict):
        case.query.pop("follow", None)
