"""Any id: a folder, a Job's name and a label that are valid, its own, and lead back to it."""

import json
import re
import tempfile
import unicodedata
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, unquote_plus

import kubernetes_validate
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backend.domain.attempt import Attempt
from backend.domain.identifiers import MAX_ID_BYTES, experiment_id_problem, job_name
from backend.launchers.kubernetes import manifest as job_manifest
from backend.launchers.kubernetes import status as job_status
from backend.settings import Settings

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# Letters that look or fold alike, and all that means something to a path, a URL or a shell.
TRICKY = st.text(st.sampled_from("aAäÄＡıİſKßﬀ가각 ᄀ-_.:%$(){}~'\"`&;|<>*?#@!=+,^\u200d\u202e"))
LONG = st.text("ab1-. A", min_size=30, max_size=200)  # longer than a name has room for
TEXTS = st.one_of(
    st.text(), TRICKY, LONG, st.from_regex(r"(\.\.|%2e|%252f|/|\\|a){1,8}", fullmatch=True)
)
IDS = TEXTS.filter(lambda text: experiment_id_problem(text) is None)
PLAIN_IDS = st.text(min_size=1, max_size=200).filter(
    lambda text: experiment_id_problem(text) is None
)
# What a file system, a database's collation, a URL or a slug may take for the same.
VARIATIONS = (
    *(getattr(str, name) for name in ("upper", "lower", "swapcase", "casefold", "title")),
    *(partial(unicodedata.normalize, form) for form in ("NFC", "NFD", "NFKC", "NFKD")),
    *(quote, unquote, unquote_plus),
    lambda text: text.replace("-", " "),
    lambda text: re.sub("[^A-Za-z0-9]+", "-", text),
    lambda text: text[:-1],
    lambda text: text + "-1",
    lambda text: text + "\u200d",
)
MANY_EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True, database=None)
SETTINGS = Settings.from_environment(
    {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "registry:5000/autoencoder:1"}
)


def attempt_of(experiment_id, attempt=1):
    return Attempt(experiment_id, "0" * 32, "autoencoder", 0.001, 20, None, attempt)


@MANY_EXAMPLES
@given(TEXTS)
def test_id_names_one_folder(text):
    if experiment_id_problem(text) is None:
        assert Path("/output", text).parent == Path("/output")
        assert Path("/output", text).name == text
        assert len(text.encode()) <= MAX_ID_BYTES
        assert text not in (".", "..")
        assert "\0" not in text


@MANY_EXAMPLES
@given(IDS, st.integers(1, 10_000))
def test_job_leads_back_to_its_attempt(experiment_id, attempt):
    attempt = attempt_of(experiment_id, attempt)
    job = job_manifest.render(attempt, Settings.from_environment({}))

    assert DNS_LABEL.fullmatch(job["metadata"]["name"])
    assert job["metadata"]["name"] == attempt.handle
    assert job["metadata"]["annotations"][job_manifest.EXPERIMENT_ID] == experiment_id
    assert job_status.attempt_of(job) == attempt
    for value in job["metadata"]["labels"].values():
        assert DNS_LABEL.fullmatch(value)


@MANY_EXAMPLES
@given(IDS, IDS, st.integers(1, 99), st.integers(1, 99))
def test_job_names_never_collide(experiment_id, other_id, attempt, other_attempt):
    same = (experiment_id, attempt) == (other_id, other_attempt)

    assert (
        job_name("autoencoder", experiment_id, attempt)
        == job_name("autoencoder", other_id, other_attempt)
    ) is same


@MANY_EXAMPLES
@given(IDS, st.sampled_from(VARIATIONS))
def test_similar_ids_never_collide(experiment_id, variation):
    other_id = variation(experiment_id)
    assume(experiment_id != other_id and experiment_id_problem(other_id) is None)

    assert job_name("autoencoder", experiment_id, 1) != job_name("autoencoder", other_id, 1)
    assert job_name("autoencoder", experiment_id, 11) != job_name(
        "autoencoder", f"{experiment_id}-1", 1
    )


@settings(MANY_EXAMPLES, max_examples=60)
@given(st.sets(IDS, min_size=2, max_size=5))
def test_folders_never_collide(ids):
    with tempfile.TemporaryDirectory() as root:
        for experiment_id in ids:
            (Path(root) / experiment_id).mkdir()
        assert {path.name for path in Path(root).iterdir()} == ids


@MANY_EXAMPLES
@given(IDS)
def test_id_reaches_no_other_field(experiment_id):
    """Two Jobs differ in names, values, annotations and folders alone."""
    environ = Settings.from_environment({})
    spec = job_manifest.render(attempt_of(experiment_id), environ)["spec"]["template"]["spec"]
    other = job_manifest.render(attempt_of("other"), environ)["spec"]["template"]["spec"]
    for pod in (spec, other):
        (container,) = pod["containers"]
        container.pop("env")
        for mount in container["volumeMounts"]:
            if mount["name"] == "output":
                assert mount.pop("mountPath").count("/") == 2
                mount.pop("subPath")

    assert spec == other


@settings(deadline=None)
@given(PLAIN_IDS)
def test_any_id_gives_a_valid_job(experiment_id):
    job = job_manifest.render(attempt_of(experiment_id), SETTINGS)

    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    assert job["metadata"]["annotations"]["hello-flask/experiment-id"] == experiment_id
    assert json.loads(json.dumps(job)) == job
