from pathlib import Path

import pytest

from backend.settings import Settings, SettingsError

SERVER = {"DB_IP": "10.0.0.1", "DB_USER": "u", "DB_PASSWORD": "p@ss/word", "DB_NAME": "n"}


def problems(environment):
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(environment)
    return error.value.problems


def test_empty_environment_is_local():
    settings = Settings.from_environment({})

    assert settings.launcher == "local"
    assert settings.bind == "127.0.0.1:31112"
    assert settings.sqlite_path == Path("data/experiments.sqlite3").absolute()
    assert settings.output_dir == Path("output").absolute()


def test_mysql_from_parts():
    url = Settings.from_environment(SERVER).database_url

    assert url.render_as_string(hide_password=False) == (
        "mysql+pymysql://u:p%40ss%2Fword@10.0.0.1:3306/n"
    )


def test_mysql_from_url():
    for text in ("mysql://u:p@h/n", "mariadb://u:p@h/n", "mysql+pymysql://u:p@h/n"):
        url = Settings.from_environment({"DB_URL": text}).database_url
        assert url.drivername == "mysql+pymysql"


@pytest.mark.parametrize(("text", "query"), [("true", {"ssl_disabled": "true"}), ("false", {})])
def test_tls_can_be_turned_off(text, query):
    url = Settings.from_environment({"DB_URL": f"mysql://u:p@h/n?ssl_disabled={text}"}).database_url

    assert dict(url.query) == query


def test_missing_variables_are_named():
    assert [problem.split()[0] for problem in problems({"DB_IP": "h"})] == [
        "DB_USER",
        "DB_NAME",
        "DB_PASSWORD",
    ]
    assert problems({"LAUNCHER": "kubernetes"})[0].startswith("AE_MODEL_IMAGE_URL is missing")


def test_mistakes_are_reported_together():
    reported = problems(
        {"BIND": "5000", "LOCAL_SLOTS": "0", "JOB_CPU": "lots", "LAUNCHER": "magic"}
    )

    assert [problem.split()[0] for problem in reported] == [
        "LAUNCHER",
        "BIND",
        "LOCAL_SLOTS",
        "JOB_CPU",
    ]


def test_secret_from_file(tmp_path):
    (tmp_path / "password").write_text("from the file\n")
    environment = SERVER | {"DB_PASSWORD": "", "DB_PASSWORD_FILE": str(tmp_path / "password")}

    assert Settings.from_environment(environment).database_url.password == "from the file"


def test_missing_secret_file():
    environment = SERVER | {"DB_PASSWORD": "", "DB_PASSWORD_FILE": "/nowhere"}

    assert problems(environment)[0].startswith("DB_PASSWORD_FILE cannot be read: /nowhere")


def test_no_secret_is_shown():
    settings = Settings.from_environment(SERVER)
    both = problems({"DB_URL": "mysql://u:p@ss/word@h/n", **SERVER})
    broken = problems({"DB_URL": "mysql:/p@ss/word"})

    for text in (repr(settings), *both, *broken):
        assert "p@ss" not in text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u:p@h/n", "must begin with mysql, mariadb or sqlite"),
        ("mysql://u@h/n", "names no password"),
        ("not a url", "is not a URL"),
    ],
)
def test_unusable_database_url(url, why):
    assert why in problems({"DB_URL": url})[0]


@pytest.mark.parametrize("address", ["[::1]:31112", "[::]:5000", "node-7:5000", "0.0.0.0:5000"])
def test_addresses(address):
    settings = Settings.from_environment({"BIND": address, "HEALTH_BIND": address})

    assert (settings.bind, settings.health_bind) == (address, address)


@pytest.mark.parametrize(
    "address",
    ["::1:31112", "[::1]", "[::1]31112", "[1.2.3.4]:5", "a b:5000", "http://a:5000", "a:٥", "a:-1"],
)
def test_malformed_addresses(address):
    assert [problem.split()[0] for problem in problems({"HEALTH_BIND": address})] == ["HEALTH_BIND"]


@pytest.mark.parametrize(
    ("text", "host"),
    [("10.0.0.5", "10.0.0.5"), ("mysql", "mysql"), ("::1", "::1"), ("[::1]", "::1")],
)
def test_database_host(text, host):
    assert Settings.from_environment(SERVER | {"DB_IP": text}).database_url.host == host


@pytest.mark.parametrize(
    ("text", "host"), [("db:3307", "db"), ("10.0.0.5:3307", "10.0.0.5"), ("[::1]:3307", "::1")]
)
def test_port_in_database_host(text, host):
    (problem,) = problems(SERVER | {"DB_IP": text})

    assert f"set DB_IP={host} and DB_PORT=3307" in problem


@pytest.mark.parametrize("text", ["mysql://u:s3cret@h/n", "u:s3cret@h", "h/n", "db:port", "a b"])
def test_url_in_database_host(text):
    (problem,) = problems(SERVER | {"DB_IP": text})

    assert problem.startswith("DB_IP must be a host name or IP address")
    assert "s3cret" not in problem


@pytest.mark.parametrize("number", ["٣٣٠٦", "9" * 5000, "1_000", "+3306", "²"])
def test_number_in_plain_digits(number):
    (problem,) = problems({"DB_PORT": number})

    assert problem.startswith("DB_PORT must be a whole number")


@pytest.mark.parametrize(
    ("text", "size"),
    [("", None), ("0", 0), ("none", 0), ("2Gi", 2**31), ("1500M", 1_500_000_000), ("64Mi", 2**26)],
)
def test_local_memory(text, size):
    assert Settings.from_environment({"LOCAL_MEMORY": text}).local_memory == size


@pytest.mark.parametrize(
    "text", ["2", "1Ki", "-1Gi", "2GiB", "1.5Gi", "lots", "9" * 18 + "T", "٢Gi"]
)
def test_local_memory_refused(text):
    [problem] = problems({"LOCAL_MEMORY": text})
    assert problem.startswith("LOCAL_MEMORY must be")
    assert text in problem
