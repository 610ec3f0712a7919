"""gunicorn's threaded worker, in which a client that has to be waited for holds no thread."""
