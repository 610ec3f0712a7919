"""The baseline of `GET /`: a Flask app with a single route."""

from types import SimpleNamespace

from flask import Flask, Response

app = Flask(__name__)
app.extensions["streams"] = SimpleNamespace()  # a hook in gunicorn.conf.py sets an attribute


@app.get("/")
def hello() -> Response:
    """Return the backend's answer to `GET /`."""
    return Response("Hello Flask!", content_type="text/plain; charset=utf-8")
