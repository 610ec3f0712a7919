"""What `GET /` is held against: one Flask route and nothing else."""

from types import SimpleNamespace

from flask import Flask, Response

app = Flask(__name__)
app.extensions["streams"] = SimpleNamespace()  # a hook in gunicorn.conf.py sets an attribute


@app.get("/")
def hello() -> Response:
    """Answer as the backend does."""
    return Response("Hello Flask!", content_type="text/plain; charset=utf-8")
