import pytest

from backend.domain.attempt import Diagnosis
from backend.launchers.base import Observation, Phase
from backend.launchers.exit_codes import diagnose_exit_code
from backend.launchers.kubernetes.diagnosis import diagnose_quota
from backend.web.languages.current import COOKIE
from tests.fixtures import BOB

FORM = {"learning_rate": "0.001", "epoch": "20"}
KOREAN = {"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"}
BROWSER = KOREAN | {"Accept": "text/html"}


def is_korean(text):
    return any("가" <= character <= "힣" for character in text)


@pytest.fixture
def failed(client, services, experiments):
    """Return a function that submits an experiment which then fails with a diagnosis."""

    def failed(diagnosis, experiment_id="run-1"):
        form = FORM | {"experiment_id": experiment_id}
        assert client.post("/test", data=form).status_code == 201
        experiment = experiments.get(experiment_id)
        observation = Observation(experiment.uid, Phase.FAILED, diagnosis=diagnosis)
        services.recorder.record(experiment, observation)

    return failed


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"),
        ("en-GB,en;q=0.9,ko;q=0.5", "en"),
        ("fr,de;q=0.5", "en"),
        ("fr, ko;q=0.3", "ko"),
        ("ko;q=0", "en"),
        ("*", "en"),
        ("ko;q=x, ;;,," + "a-" * 2000, "en"),
    ],
)
def test_language_that_the_client_accepts(client, accepted, language):
    headers = {} if accepted is None else {"Accept-Language": accepted}
    response = client.get("/ui", headers=headers)

    assert f'<html lang="{language}"' in response.text
    assert {"Accept-Language", "Cookie"} <= set(response.vary)


def test_error_follows_the_language(client):
    english = client.get("/experiments/nobody")
    korean = client.get("/experiments/nobody", headers=KOREAN)

    assert english.json["detail"] == "There is no experiment 'nobody'."
    assert english.json["title"] == "Not Found"
    assert korean.json["detail"] == "실험 'nobody'이(가) 없습니다."
    assert korean.json["title"] == "찾을 수 없음"
    assert korean.json | {"title": "", "detail": ""} == english.json | {"title": "", "detail": ""}
    assert {"accept-language", "cookie"} <= {name.lower() for name in english.vary}


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("get", "/nowhere", {}),
        ("put", "/model", {}),
        ("get", "/experiments/nobody", {}),
        ("get", "/experiments?limit=0", {}),
        ("get", "/experiments?limit=x", {}),
        ("get", "/experiments?sort=nothing", {}),
        ("get", "/experiments?where=epoch", {}),
        ("get", "/experiments?where=status<1", {}),
        ("get", "/experiments?after=1", {}),
        ("get", "/experiments?created_after=now", {}),
        ("get", "/experiments?fields=x", {}),
        ("get", "/experiments?format=xml", {}),
        ("get", "/experiments?unknown=1", {}),
        ("get", "/compare?id=nobody", {}),
        ("get", "/models/nothing", {}),
        ("get", "/inputs/nothing.csv/preview", {}),
        ("put", "/inputs/x.csv", {"data": b""}),
        ("put", "/inputs/x.csv", {"data": b"a,b\n1,x\n2,3\n1\n"}),
        ("put", "/inputs/.x", {"data": b"1,2\n"}),
        ("post", "/test", {}),
        ("post", "/test", {"data": {"learning_rate": "x", "epoch": "0", "other": "1"}}),
        ("post", "/test", {"data": FORM | {"experiment_id": "a/b"}}),
        ("post", "/test", {"data": FORM | {"experiment_id": "a", "model": "none"}}),
        ("post", "/test", {"data": FORM | {"experiment_id": "a", "dataset": "none.csv"}}),
        ("post", "/test", {"data": FORM | {"experiment_id": "a", "size": "large"}}),
        ("post", "/test", {"data": b"{", "content_type": "application/json"}),
        ("post", "/test", {"data": b"x", "content_type": "text/plain"}),
        ("post", "/test", {"json": []}),
        ("post", "/sweeps", {"data": {"sweep_id": "s1", "learning_rate": "0.1", "epoch": "2"}}),
        ("post", "/sweeps", {"data": {"sweep_id": "s1", "learning_rate": "2..1", "epoch": "2"}}),
        ("patch", "/sweeps/none", {"data": {"trials": "5"}}),
        ("post", "/experiments/nobody/cancel", {}),
        ("post", "/ui/language", {"data": {"language": "xx"}}),
        ("get", "/model", {"headers": {"Host": "elsewhere.example"}}),
        ("post", "/test", {"headers": {"Origin": "http://elsewhere.example"}}),
    ],
)
def test_every_sentence_of_an_error_is_korean(client, method, path, options):
    headers = KOREAN | options.pop("headers", {})
    response = getattr(client, method)(path, headers=headers, **options)
    problem = response.json

    assert response.status_code >= 400
    assert response.content_type == "application/problem+json"
    assert is_korean(problem["title"])
    for text in (problem["detail"], *(one["detail"] for one in problem.get("errors", ()))):
        assert is_korean(text), text
        for word in (" must ", " is ", " send ", "There ", " the ", " not "):
            assert word not in f" {text}", text


def test_diagnosis_follows_the_language(client, failed):
    failed(diagnose_exit_code(137, "loss 0.5", "'logs/1.log'"))
    english = client.get("/experiments/run-1").json["diagnosis"]
    korean = client.get("/experiments/run-1", headers=KOREAN).json["diagnosis"]

    assert english["message"] == "The trainer exited with code 137: loss 0.5"
    assert korean["message"] == "학습 프로그램이 종료 코드 137(으)로 끝났습니다: loss 0.5"
    assert korean["remedy"].endswith("로그를 확인하세요: 'logs/1.log'.")
    assert english["reason"] == korean["reason"] == "trainer_failed"


def test_stored_diagnosis_and_log_stay_english(client, failed, experiments, services, caplog):
    failed(diagnose_quota("exceeded quota: compute"))
    client.get("/experiments/run-1", headers=KOREAN)

    assert experiments.get("run-1").message == (
        "The namespace's quota is used up: exceeded quota: compute"
    )
    run_file = services.outputs.folder("run-1") / "run.json"
    assert not is_korean(run_file.read_text())
    assert not is_korean(caplog.text)


def test_unknown_diagnosis_of_another_version_stays_as_it_is(client, failed):
    failed(Diagnosis("strange", "Something that no version of now says.", "Do what it says."))

    diagnosis = client.get("/experiments/run-1", headers=KOREAN).json["diagnosis"]
    assert diagnosis["message"] == "Something that no version of now says."


def test_list_has_another_etag_in_each_language(client, failed):
    failed(diagnose_quota("exceeded quota: compute"))
    english = client.get("/experiments")
    korean = client.get("/experiments", headers=KOREAN)
    again = client.get("/experiments", headers=KOREAN | {"If-None-Match": korean.headers["ETag"]})
    other = client.get("/experiments", headers={"If-None-Match": korean.headers["ETag"]})

    assert english.headers["ETag"] != korean.headers["ETag"]
    assert is_korean(korean.json[0]["diagnosis"]["message"])
    assert again.status_code == 304
    assert {"Accept-Language", "Cookie"} <= set(again.vary)
    assert other.status_code == 200


def test_rows_of_the_list_are_kept_by_language(client, failed):
    failed(diagnose_quota("exceeded quota: compute"))

    assert "quota exceeded" in client.get("/ui").text
    assert "quota 초과" in client.get("/ui", headers=KOREAN).text
    assert "quota exceeded" in client.get("/ui").text


def test_exports_stay_english(client, failed):
    failed(diagnose_quota("exceeded quota: compute"))
    content = client.get("/experiments?format=csv&fields=message", headers=KOREAN).text

    assert "The namespace's quota is used up" in content


def test_switch(client):
    page = client.get("/ui?q=a", headers=BROWSER)
    assert 'action="/ui/language?next=/ui?q%3Da"' in page.text
    assert '<button name="language" value="en" lang="en">English</button>' in page.text

    answer = client.post("/ui/language?next=/ui?q%3Da", data={"language": "en"}, headers=BROWSER)
    assert answer.status_code == 303
    assert answer.location == "/ui?q=a"
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert '<html lang="en"' in client.get("/ui", headers=BROWSER).text
    assert client.get("/experiments/nobody", headers=KOREAN).json["title"] == "Not Found"


def test_damaged_cookie_is_ignored(client):
    client.set_cookie(COOKIE, "../../etc/passwd")

    assert '<html lang="ko"' in client.get("/ui", headers=KOREAN).text


@pytest.mark.parametrize("address", ["//elsewhere.example", "https://elsewhere.example", "/model"])
def test_switch_leads_to_pages_only(client, address):
    answer = client.post("/ui/language", query_string={"next": address}, data={"language": "ko"})

    assert answer.location == "/ui"


def test_switch_needs_no_session(anonymous):
    page = anonymous.get("/ui", headers=BROWSER)
    assert page.status_code == 401
    assert "로그인" in page.text

    answer = anonymous.post("/ui/language?next=/ui", data={"language": "en"}, headers=BROWSER)
    assert answer.status_code == 303
    assert "Sign in" in anonymous.get("/ui", headers=BROWSER).text


def test_switch_of_a_session_that_may_only_read(anonymous):
    assert anonymous.post("/ui/login", data={"token": BOB}).status_code == 303
    answer = anonymous.post("/ui/language?next=/ui", data={"language": "ko"})

    assert answer.status_code == 303
    assert '<html lang="ko"' in anonymous.get("/ui").text


def test_other_site_cannot_switch(client):
    answer = client.post(
        "/ui/language", data={"language": "ko"}, headers={"Origin": "http://elsewhere.example"}
    )

    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_texts_of_scripts(client):
    assert "data-texts" not in client.get("/ui").text
    page = client.get("/ui", headers=KOREAN)
    url = page.text.partition('data-texts="')[2].partition('"')[0]
    texts = client.get(url)

    assert texts.json["just now"] == "방금 전"
    assert "Sign in" not in texts.json
    assert texts.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert client.get("/ui/language/xx.json").status_code == 404


def test_greeting_and_contract_stay_as_they_are(client):
    form = FORM | {"experiment_id": "run-1"}

    assert client.get("/", headers=KOREAN).text == "Hello Flask!"
    assert client.post("/test", data=form, headers=KOREAN).json["message"] == "Job Created"
    assert client.get("/model", headers=KOREAN).json[0]["status"] == "queued"
