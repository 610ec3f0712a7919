import json

import pytest
from kubernetes.client.exceptions import ApiException

from backend.launchers.kubernetes.errors import unavailable


def forbidden(user):
    message = (
        f'jobs.batch is forbidden: User "{user}" cannot create resource "jobs" in API group "batch"'
    )
    error = ApiException(status=403, reason="Forbidden")
    error.body = json.dumps({"message": message})
    return error


@pytest.mark.parametrize(
    ("user", "advised", "not_advised"),
    [
        ("system:serviceaccount:default:hello-flask", "Apply yaml/setup/2_sa.yaml", "dedicated"),
        ("system:serviceaccount:default:default", "name that serviceAccount", "dedicated"),
        (
            "system:serviceaccount:hello-flask:hello-flask",
            "kubectl apply -k yaml/dedicated/",
            "2_sa.yaml",
        ),
        ("system:serviceaccount:team-a:hello-flask", "the namespace team-a", "dedicated"),
        ("alice", "Apply yaml/setup/2_sa.yaml", "dedicated"),
    ],
)
def test_missing_rights_are_restored_where_they_are_missing(user, advised, not_advised):
    diagnosis = unavailable(forbidden(user)).diagnosis

    assert diagnosis.reason == "kubernetes_forbidden"
    assert advised in diagnosis.remedy
    assert not_advised not in diagnosis.remedy
    assert "starts by itself" in diagnosis.remedy
