"""What an experiment id may be, and the Kubernetes names made from it. Pure functions."""

import base64
import hashlib
import re
import unicodedata

MAX_ID_CHARACTERS = 200
MAX_ID_BYTES = 255  # NAME_MAX of Linux file systems: the id is a folder's name
MAX_NAME = 63  # a DNS label, RFC 1123: a Job's name becomes a label of its pods


def experiment_id_problem(experiment_id: str) -> str | None:
    """Say why a text cannot be an experiment id, or None if it can.

    An id is any text a folder can be named on every file system that the output folder may lie
    on, Korean and inner spaces included.
    """
    if not 1 <= len(experiment_id) <= MAX_ID_CHARACTERS:
        return f"must have 1 to {MAX_ID_CHARACTERS} characters, this has {len(experiment_id)}"
    categories = {unicodedata.category(character) for character in experiment_id}
    if "Cs" in categories:
        return "holds half of a surrogate pair, which is not a character"
    if "\N{REPLACEMENT CHARACTER}" in experiment_id:
        return "is not UTF-8 text: a client sent it in another encoding"
    if "Cc" in categories:
        return "must not hold control characters such as a line break, a tab or NUL"
    if len(experiment_id.encode()) > MAX_ID_BYTES:
        return f"must have at most {MAX_ID_BYTES} bytes of UTF-8"
    if "/" in experiment_id or "\\" in experiment_id:
        return "must not hold '/' or '\\', it names one folder"
    if experiment_id.startswith("."):
        return "must not begin with '.'"
    if experiment_id.endswith((".", " ")):
        return "must not end with '.' or a space"
    return None


def job_name(model: str, experiment_id: str, attempt: int) -> str:
    """Name the Job of one attempt: a DNS label, the same for the same arguments.

    The name is `<model>-<slug>-<hash>-<attempt>`: the slug is what people recognise, the hash
    (60 bits) keeps ids apart whose slugs agree.
    """
    digest = base64.b32encode(hashlib.sha256(f"{model}\0{experiment_id}".encode()).digest())
    tail = f"{digest[:12].decode().lower()}-{attempt}"
    room = MAX_NAME - len(model) - len(tail) - 2
    slug = re.sub(r"[^a-z0-9]+", "-", experiment_id.lower()).strip("-")[:room].strip("-")
    return "-".join(part for part in (model, slug, tail) if part)
