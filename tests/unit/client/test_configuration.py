"""Where the client finds its server and its token."""

import pytest

from hello_flask.configuration import DEFAULT_URL, Configuration, ConfigurationError, read


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path)}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the configuration file."""

    def write(text, mode=0o600):
        path = tmp_path / ".config" / "hello-flask" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def test_default(environ):
    assert read(environ=environ) == Configuration(DEFAULT_URL)


def test_precedence(environ, write):
    write('url = "http://file:1"\ntoken = "of-the-file"\n')
    assert read(environ=environ) == Configuration("http://file:1", "of-the-file")

    environ |= {"HELLO_FLASK_URL": "http://environ:1/", "HELLO_FLASK_TOKEN": "of-environ"}
    assert read(environ=environ) == Configuration("http://environ:1", "of-environ")
    assert read("http://given:1", "t", environ) == Configuration("http://given:1", "t")


def test_token_of_the_file_is_for_its_server(environ, write):
    write('url = "http://file:1/"\ntoken = "secret"\n')

    assert read("http://other:1", environ=environ).token is None
    assert read("http://file:1", environ=environ).token == "secret"
    write('token = "secret"\n')
    assert read(environ=environ) == Configuration(DEFAULT_URL, "secret")
    assert read("http://other:1", environ=environ).token is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_file_that_others_can_read(environ, write, mode):
    path = write('token = "secret"\n', mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        read(environ=environ)


@pytest.mark.parametrize("text", ["token", "x = 1", 'password = "x"', "token = 5", "\udcff"])
def test_file_that_makes_no_sense(environ, write, text):
    path = write("")
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=r"config\.toml"):
        read(environ=environ)


def test_named_file(environ, tmp_path, write):
    environ["HELLO_FLASK_CONFIG"] = str(write('url = "http://file:1"').rename(tmp_path / "mine"))
    assert read(environ=environ).url == "http://file:1"
    environ["HELLO_FLASK_CONFIG"] += "-not"
    with pytest.raises(ConfigurationError, match="there is no file"):
        read(environ=environ)


@pytest.mark.parametrize(
    "url",
    ["localhost:31112", "ftp://a", "http://", "http://a:99999", "http://u:p@a", "http://a/?b", "[",
     "http://[::1"],
)  # fmt: skip
def test_address_that_is_none(environ, url):
    with pytest.raises(ConfigurationError):
        read(url, environ=environ)


@pytest.mark.parametrize("token", ["a b", "a\nX-Header: 1", "토큰"])
def test_token_that_is_none(environ, token):
    with pytest.raises(ConfigurationError, match="token"):
        read(token=token, environ=environ)


def test_token_is_not_shown():
    assert "secret" not in repr(Configuration("http://a", "secret"))
