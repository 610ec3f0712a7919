"""What `GET /` is held against: one Flask route and nothing else."""

from flask import Flask, Response

app = Flask(__name__)


@app.get("/")
def hello() -> Response:
    """Answer as the backend does."""
    return Response("Hello Flask!", content_type="text/plain; charset=utf-8")
