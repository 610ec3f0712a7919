"""Responses of errors (RFC 9457)."""

from apiflask import Schema
from apiflask.fields import Integer, List, Nested, String


class FieldProblemOut(Schema):
    """What is wrong with one field."""

    field = String(metadata={"example": "epoch"})
    detail = String()


class ProblemOut(Schema):
    """RFC 9457, Problem Details for HTTP APIs."""

    type = String(metadata={"example": "about:blank"})
    title = String(metadata={"example": "Unprocessable Entity"})
    status = Integer(metadata={"example": 422})
    detail = String()
    errors = List(Nested(FieldProblemOut))
    reason = String(
        metadata={"description": "A code for programs, if there is one.", "example": "job_refused"}
    )
