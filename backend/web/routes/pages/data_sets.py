"""The pages of the data sets: all of them, and the beginning of one."""

from flask import render_template

from backend.web.current import services
from backend.web.routes.pages.experiments import blueprint
from backend.web.schemas.inputs import preview_out

__all__ = ["blueprint"]  # of the dashboard, with the list and these pages


@blueprint.get("/inputs")
def list_inputs() -> str:
    """Show the data sets; their script uploads, replaces and deletes them."""
    found = services.data_sets.list_all()
    is_pending = any(one.facts is None or one.facts.content is None for one in found)
    return render_template("inputs.html", data_sets=found, is_pending=is_pending)


@blueprint.get("/inputs/<name>")
def show_input(name: str) -> str:
    """Show the columns and the first rows of a data set, or its first images."""
    preview = services.data_sets.preview(name)
    return render_template("input.html", found=preview.data_set, preview=preview_out(preview))
