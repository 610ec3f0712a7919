"""Tokens, and requests that change something, for the tests of who may ask for what."""

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}
BROWSER = {"Accept": "text/html,*/*;q=0.8"}
ALICE, BOB = "alice-s-own-token", "bob-only-reads"
CHANGES = [
    ("POST", "/test"),
    ("POST", "/experiments"),
    ("POST", "/experiments/first/cancel"),
    ("POST", "/experiments/first/retry"),
    ("DELETE", "/experiments/first"),
    ("PUT", "/nothing"),
    ("PATCH", "/nothing"),
]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def check_problem(response, status):
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    assert response.json["detail"]
