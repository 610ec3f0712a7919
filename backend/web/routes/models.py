"""The models that can be trained."""

from apiflask import APIBlueprint
from flask import Response, jsonify

from backend.domain.exceptions import UnknownModel
from backend.web.current import services
from backend.web.schemas.models import ModelOut, model_out, unusable_out

blueprint = APIBlueprint("models", __name__, tag="Models")


@blueprint.get("/models")
@blueprint.output(ModelOut(many=True), description="All models")
@blueprint.doc(summary="List models")
def list_models() -> Response:
    """List the models of the catalogue with their parameters, sorted by name.

    A model whose entry is wrong is listed with its `problem`, and cannot be submitted.
    """
    catalogue = services.models.catalogue()
    listed = {name: model_out(entry) for name, entry in catalogue.entries.items()}
    listed |= {name: unusable_out(name, text) for name, text in catalogue.problems.items()}
    return jsonify([listed[name] for name in sorted(listed)])


@blueprint.get("/models/<model>")
@blueprint.output(ModelOut)
@blueprint.doc(summary="Show a model", responses=[404])
def show_model(model: str) -> Response:
    """Show one model of the catalogue with its parameters."""
    entry, problem = services.models.find(model)
    if entry:
        return jsonify(model_out(entry))
    if problem:
        return jsonify(unusable_out(model, problem))
    raise UnknownModel(model, list(services.models.catalogue().entries))
