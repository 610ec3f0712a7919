"""Rules for experiment ids and data set names, and the Job names of ids. Pure functions."""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Callable

MAX_ID_CHARACTERS = 200
MAX_ID_BYTES = 255  # NAME_MAX of Linux file systems: the id names a folder
SUFFIX_CHARACTERS = 5  # of a trial's id: -0001
MAX_NAME = 63  # a DNS label, RFC 1123: a Job's name becomes a label of its pods

# Neither a format character nor a space by their category, and yet nothing to be seen.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_TRIAL_ID = re.compile(r"(.+)-([0-9]{4})", re.ASCII | re.DOTALL)


def canonical(name: str) -> str:
    """Return a name in the form in which new names are stored: Unicode's NFC.

    macOS sends names decomposed (NFD), which look the same and are other text.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def forms(name: str) -> list[str]:
    """Return a name and its other forms (NFC, NFD), in which older versions may have stored it."""
    if name.isascii():
        return [name]
    normalized = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    return list(dict.fromkeys([name, *normalized]))


def stored_form(name: str, is_stored: Callable[[str], object]) -> str:
    """Return the form of a name that is stored; if none is, the form in which new ones are."""
    if name.isascii():
        return name
    return next((form for form in forms(name) if is_stored(form)), canonical(name))


def folded(text: str) -> str:
    """Return a text without what a search ignores: case and accents.

    Marks that follow their letter are accents in Unicode's NFD, those of Korean letters are none.
    """
    if text.isascii():
        return text.lower()
    plain = _without_marks(_without_marks(text).casefold())
    return unicodedata.normalize("NFC", plain)


def _without_marks(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(one for one in decomposed if unicodedata.category(one) != "Mn")


def invisible_character(name: str) -> str | None:
    """Return code point and Unicode name of the first character nobody can see, or None.

    Those are format characters (zero width, direction), fillers, and spaces other than U+0020.
    """
    for character in name:
        category = unicodedata.category(character)
        space = category in ("Zs", "Zl", "Zp") and character != " "
        if category == "Cf" or space or character in _BLANK:
            label = unicodedata.name(character, "")
            return f"U+{ord(character):04X} {label}".rstrip()
    return None


def new_id_problem(experiment_id: str) -> str | None:
    """Return why `experiment_id` cannot be the id of a new experiment, or None if it can.

    Older versions accepted ids with invisible characters, and those stay valid.
    """
    problem = experiment_id_problem(experiment_id)
    if problem is None and (invisible := invisible_character(experiment_id)):
        return f"contains {invisible}, which cannot be seen: remove it or use a plain space"
    return problem


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


def trial_id(sweep_id: str, number: int) -> str:
    """Return the experiment_id of a trial: s1-0007."""
    return f"{sweep_id}-{number:04d}"


def trial_number(sweep_id: str, experiment_id: str) -> int | None:
    """Return the number of the trial of a sweep with this id; None if it is no trial's."""
    match = _TRIAL_ID.fullmatch(experiment_id)
    return int(match[2]) or None if match and match[1] == sweep_id else None


def sweep_id_problem(sweep_id: str, *, is_new: bool = True) -> str | None:
    """Return why `sweep_id` cannot be the id of a sweep, or None if it can.

    It leaves room for the numbers of its trials.
    """
    problem = new_id_problem(sweep_id) if is_new else experiment_id_problem(sweep_id)
    if problem:
        return problem
    longest = MAX_ID_CHARACTERS - SUFFIX_CHARACTERS
    if len(sweep_id) > longest or len(sweep_id.encode()) > MAX_ID_BYTES - SUFFIX_CHARACTERS:
        return (
            f"must have at most {longest} characters and {MAX_ID_BYTES - SUFFIX_CHARACTERS} bytes "
            "of UTF-8: its trials are named after it, such as s1-0001"
        )
    return None


def job_name(model: str, experiment_id: str, attempt: int, reserved: int = 0) -> str:
    """Return the name of an attempt's Job: a DNS label, always the same for the same arguments.

    The name is `<model>-<slug>-<hash>-<attempt>`: the slug is for people to recognise, the hash
    (60 bits) distinguishes ids that have the same slug. It leaves room for `reserved` characters:
    those by which the host names of a gang's pods are longer.
    """
    digest = base64.b32encode(hashlib.sha256(f"{model}\0{experiment_id}".encode()).digest())
    suffix = f"{digest[:12].decode().lower()}-{attempt}"
    slug_length = MAX_NAME - reserved - len(model) - len(suffix) - 2
    slug = re.sub(r"[^a-z0-9]+", "-", experiment_id.lower()).strip("-")[:slug_length].strip("-")
    return "-".join(part for part in (model, slug, suffix) if part)
