"""Requests that submit, change or delete experiments."""

from typing import Any

from apiflask.fields import Boolean
from apiflask.validators import Length, OneOf, Range
from marshmallow import INCLUDE, ValidationError, validates_schema

from backend.domain.annotations.changes import MAX_TAGS
from backend.domain.annotations.rules import MAX_NOTE_CHARACTERS, MAX_TAG_CHARACTERS
from backend.domain.catalogue import AUTOENCODER, Choice, Entry, InvalidParameters
from backend.domain.exceptions import MAX_NAMES
from backend.domain.execution.priority import Priority
from backend.domain.identifiers import MAX_ID_CHARACTERS
from backend.domain.parameter import shown_value
from backend.web.current import services
from backend.web.schemas.fields import Choice as DatasetChoice
from backend.web.schemas.fields import ExperimentId, Note, Tags, Text, WholeNumber
from backend.web.schemas.strict import StrictSchema


class ExperimentIn(StrictSchema):
    """A submission. Its other fields are the parameters of the model, by the model's entry.

    `openapi.describe` documents them, from the same entries.
    """

    class Meta(StrictSchema.Meta):
        """Leave unknown fields to `read_parameters`."""

        unknown = INCLUDE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error_messages |= {
            "type": "The body must be an object with the fields experiment_id, learning_rate, "
            "epoch and the other parameters of the model."
        }

    experiment_id = ExperimentId(
        required=True,
        validate=Length(min=1, max=MAX_ID_CHARACTERS),
        error_messages={"required": "is missing: send a name for the experiment, such as run-1."},
        metadata={"description": "Names the experiment and its output folder.", "example": "run-1"},
    )
    model = Text(
        load_default=AUTOENCODER,
        error_messages={"invalid": "must be the name of a model, such as autoencoder."},
        metadata={"description": "A model of the catalogue.", "example": AUTOENCODER},
    )
    dataset = DatasetChoice(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "A file of the input folder, or several (an array; in a form, repeat "
            "the field) whose samples fit together; `*`, the default, stands for every file.",
            "example": "digits.npz",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        },
    )
    size = Text(
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be the name of a size of the model."},
        metadata={"description": "One of the sizes that the model names: cpu, memory and gpu."},
    )

    priority = Text(
        load_default=Priority.NORMAL,
        allow_none=True,
        validate=OneOf(list(Priority), error="must be low, normal or high."),
        error_messages={"invalid": "must be low, normal or high."},
        metadata={
            "description": "Which of the experiments that wait starts first. On Kubernetes, the "
            "model's entry names the PriorityClass of each.",
            "example": "normal",
        },
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def read_parameters(self, data: dict[str, Any], original: Any, **_options: Any) -> None:
        """Read the parameters of the model; replace the unknown fields by `values` and `choice`.

        Raises:
            ValidationError: it names every field that is wrong, beside those that are wrong anyway.
        """
        if not isinstance(original, dict):
            return
        sent = {name: value for name, value in original.items() if name not in self.fields}
        for name in sent:
            data.pop(name, None)
        entry = entry_of_model(data["model"]) if "model" in data else None
        if entry is None:
            return
        size, problems = data.get("size"), dict[str, str]()
        if size and size not in entry.sizes:
            known = f"one of {', '.join(entry.sizes)}" if entry.sizes else "none: it has no sizes"
            problems["size"] = f"must be a size of {entry.name}, {known}; not {shown_value(size)}."
        try:
            data["values"] = entry.parse(sent)
            data["choice"] = Choice(entry, frozenset(sent))
        except InvalidParameters as error:
            problems |= error.problems
        if problems:
            raise ValidationError({name: [text] for name, text in problems.items()})


def entry_of_model(name: str) -> Entry:
    """Return the entry of a model.

    Raises:
        ValidationError: there is none, or it cannot be used.
    """
    entry, problem = services.models.find(name)
    if entry:
        return entry
    names = list(services.models.catalogue().entries)[:MAX_NAMES]
    wrong = f"cannot be used, because its entry is wrong. {problem}" if problem else ""
    unknown = f"must be one of {', '.join(names)} (GET /models); not {shown_value(name)}."
    raise ValidationError({"model": [wrong or unknown]})


class DeleteIn(StrictSchema):
    """What to delete."""

    outputs = Boolean(load_default=False, metadata={"description": "Delete the output folder too."})


class AnnotationsIn(StrictSchema):
    """What people add to an experiment. A field that is not sent stays as it is."""

    tags = Tags(
        metadata={
            "description": f"Replaces all tags: at most {MAX_TAGS}, each of at most "
            f"{MAX_TAG_CHARACTERS} characters. In a form, with commas between them.",
            "example": ["baseline", "good seed"],
        }
    )
    note = Note(
        metadata={
            "description": f"Markdown, at most {MAX_NOTE_CHARACTERS} characters.",
            "example": "Diverges after epoch 12.",
        }
    )
    favourite = Boolean(
        error_messages={"invalid": "must be true or false."}, metadata={"example": True}
    )
    revision = WholeNumber(
        validate=Range(min=0),
        metadata={
            "description": "Change nothing (409) unless the experiment has this revision.",
            "example": 0,
        },
    )
