"""HTTP: routes, schemas, pages, errors and access."""
