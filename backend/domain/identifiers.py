"""Rules for experiment ids, and the Job names derived from them. Pure functions."""

import base64
import hashlib
import re
import unicodedata

MAX_ID_CHARACTERS = 200
MAX_ID_BYTES = 255  # NAME_MAX of Linux file systems: the id names a folder
MAX_NAME = 63  # a DNS label, RFC 1123: a Job's name becomes a label of its pods


def experiment_id_problem(experiment_id: str) -> str | None:
    """Return why `experiment_id` is not a valid id, or None if it is.

    An id is any text that can name a folder on every file system that the output folder may be
    on, Korean and inner spaces included.
    """
    if not 1 <= len(experiment_id) <= MAX_ID_CHARACTERS:
        return f"must have 1 to {MAX_ID_CHARACTERS} characters; this has {len(experiment_id)}"
    categories = {unicodedata.category(character) for character in experiment_id}
    if "Cs" in categories:
        return "contains half of a surrogate pair, which is not a character"
    if "\N{REPLACEMENT CHARACTER}" in experiment_id:
        return "is not UTF-8 text: it was sent in another encoding"
    if "Cc" in categories:
        return "must not contain control characters such as a line break, a tab or NUL"
    if len(experiment_id.encode()) > MAX_ID_BYTES:
        return f"must have at most {MAX_ID_BYTES} bytes of UTF-8"
    if "/" in experiment_id or "\\" in experiment_id:
        return "must not contain '/' or '\\': it names one folder"
    if experiment_id.startswith("."):
        return "must not begin with '.'"
    if experiment_id.endswith((".", " ")):
        return "must not end with '.' or a space"
    return None


def job_name(model: str, experiment_id: str, attempt: int) -> str:
    """Return the name of an attempt's Job: a DNS label, always the same for the same arguments.

    The name is `<model>-<slug>-<hash>-<attempt>`: the slug is for people to recognise, the hash
    (60 bits) distinguishes ids that have the same slug.
    """
    digest = base64.b32encode(hashlib.sha256(f"{model}\0{experiment_id}".encode()).digest())
    suffix = f"{digest[:12].decode().lower()}-{attempt}"
    slug_length = MAX_NAME - len(model) - len(suffix) - 2
    slug = re.sub(r"[^a-z0-9]+", "-", experiment_id.lower()).strip("-")[:slug_length].strip("-")
    return "-".join(part for part in (model, slug, suffix) if part)
