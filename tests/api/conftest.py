from tests.fixtures import (  # noqa: F401
    app,
    browser,
    client,
    experiments,
    guarded,
    guest,
    launcher,
    settings,
    store,
    token_file,
)
