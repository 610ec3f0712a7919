"""How many clients one web worker serves at once."""

import resource

LONG = 8  # requests that may hold a thread while they are received, such as uploads
MOST_CONNECTIONS = 4096
RESERVED_FILES = 200  # for what is not a client: modules, the database, logs
FILES_PER_CLIENT = 2  # its socket, and the file that it downloads


def most_connections() -> int:
    """Return how many connections the limit of open files allows (RLIMIT_NOFILE)."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, (files - RESERVED_FILES) // FILES_PER_CLIENT))
