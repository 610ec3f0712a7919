from tests.fixtures import (  # noqa: F401
    app,
    browser,
    client,
    experiments,
    guarded,
    guest,
    launcher,
    services,
    settings,
    store,
    token_file,
)
