from tests.fixtures import (  # noqa: F401  # noqa: F401
    app,
    archive,
    client,
    experiments,
    launcher,
    lose,
    made,
    reconciler,
    settings,
    store,
)
