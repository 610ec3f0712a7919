from tests.fixtures import (  # noqa: F401
    app,
    archive,
    client,
    experiments,
    launcher,
    lose,
    made,
    reconciler,
    services,
    settings,
    store,
)
