"""Values and checks that several component tests share."""

from backend.domain.experiment import Parameters

PARAMETERS = Parameters("autoencoder", 0.001, 20, None)

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


def submit(experiments, experiment_id="first", parameters=PARAMETERS):
    return experiments.submit(experiment_id, parameters)


def check_problem(response, status, *texts):
    """Check that an answer is a problem document (RFC 9457) and return its JSON.

    Args:
        words: texts that its detail must contain.
    """
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    assert response.json["status"] == status
    assert response.json["detail"]
    for text in texts:
        assert text in response.json["detail"]
    return response.json
