from tests.fixtures import app, client, experiments, launcher, settings, store  # noqa: F401
