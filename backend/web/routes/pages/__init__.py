"""The pages of the dashboard."""

from apiflask import APIFlask

from backend.web.routes.pages import dashboard, data_sets, experiments, plots, sweeps


def register_pages(app: APIFlask) -> None:
    """Make the app answer with the pages of the dashboard."""
    dashboard.register_dashboard(app)
    # Each module adds its pages to one and the same blueprint.
    for blueprint in {page.blueprint for page in (data_sets, experiments, plots, sweeps)}:
        app.register_blueprint(blueprint)
