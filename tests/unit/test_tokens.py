import os

import pytest

from backend.settings import Settings, SettingsError
from backend.tokens import TokenFile, TokensError, find, parse


def holder_of(token):
    return (token.name, token.read_only) if token else None


@pytest.mark.parametrize(
    ("line", "presented", "holder"),
    [
        ("secret", "secret", ("token", False)),
        ("alice:secret", "secret", ("alice", False)),
        ("ro:secret", "secret", ("token", True)),
        ("ro:alice:secret", "secret", ("alice", True)),
        ("  alice:secret \r", "secret", ("alice", False)),
        ("a.b_c-1:p@ss/+=w", "p@ss/+=w", ("a.b_c-1", False)),
        ("secret", "Secret", None),
        ("secret", "secret ", None),
        ("secret", "", None),
        ("alice:secret", "alice:secret", None),
        ("ro:secret", "ro:secret", None),
        ("secret", "비밀", None),
        ("secret", "\udcff", None),
    ],
)
def test_single_line(line, presented, holder):
    assert holder_of(find(parse(line), presented)) == holder


def test_several_lines_with_comments():
    tokens = parse("# people\nalice:one\n\nro:bob:two\nalice:three\n")

    assert [holder_of(find(tokens, text)) for text in ("one", "two", "three", "# people")] == [
        ("alice", False),
        ("bob", True),
        ("alice", False),
        None,
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no token"),
        ("# nothing\n \n", "no token"),
        ("good\na:b:c", "line 2"),
        ("ro:", "line 1"),
        ("ro:ro:x", "line 1"),
        (":x", "line 1"),
        ("alice:", "line 1"),
        ("two words", "line 1"),
        ("비밀", "line 1"),
        ("alice:same\nbob:same", "line 2"),
    ],
)
def test_invalid_token_lists(text, complaint):
    with pytest.raises(TokensError, match=complaint) as error:
        parse(text)

    assert "same" not in str(error.value)


def test_repr_hides_tokens():
    settings = Settings.from_environment({"API_TOKEN": "alice:topsecret"})

    assert "topsecret" not in repr(settings)
    assert "topsecret" not in repr(parse("alice:topsecret"))


@pytest.fixture
def file(tmp_path):
    """A file mounted from a Secret: kubelet replaces the linked folder as a whole."""

    class File:
        path = tmp_path / "tokens"

        def swap(self, text, version):
            folder = tmp_path / version
            folder.mkdir()
            (folder / "tokens").write_text(text)
            (tmp_path / "..data_tmp").symlink_to(folder)
            (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    file = File()
    file.swap("alice:one", "v1")
    file.path.symlink_to(tmp_path / "..data" / "tokens")
    return file


def test_swapped_file_holds_at_once(file):
    tokens = TokenFile(file.path)
    assert holder_of(find(tokens.current(), "one")) == ("alice", False)

    file.swap("alice:two", "v2")

    assert find(tokens.current(), "one") is None
    assert holder_of(find(tokens.current(), "two")) == ("alice", False)


def test_change_within_clock_tick(tmp_path):
    """A change that leaves the modification time as it was is noticed all the same."""
    path = tmp_path / "tokens"
    path.write_text("one")
    first = path.stat()
    tokens = TokenFile(path)
    tokens.current()
    path.write_text("two")
    os.utime(path, ns=(first.st_atime_ns, first.st_mtime_ns))

    assert find(tokens.current(), "two")


def test_old_file_is_cached(tmp_path, monkeypatch):
    path = tmp_path / "tokens"
    path.write_text("one")
    os.utime(path, (1, 1))
    tokens = TokenFile(path)
    known = tokens.current()
    monkeypatch.setattr("backend.tokens.parse", None)

    assert tokens.current() is known


@pytest.mark.parametrize("content", [None, b"", b"# none\n", b"two words", b"\xff", b"x" * 70_000])
def test_unusable_file_locks_out(tmp_path, caplog, content):
    """Nobody is let in, and the log says so once."""
    path = tmp_path / "tokens"
    path.write_text("one")
    tokens = TokenFile(path)
    tokens.current()
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    for _ in range(3):
        with pytest.raises(TokensError):
            tokens.current()
    assert len(caplog.records) == 1
    assert "Nobody is let in" in caplog.text

    path.write_text("two")
    assert find(tokens.current(), "two")


@pytest.mark.parametrize(
    "environment",
    [
        {"API_TOKEN": "a:b:c"},
        {"API_TOKEN": "  "},
        {"API_TOKEN_FILE": "/nowhere/tokens"},
        {"API_TOKEN_FILE": os.devnull},
        {"API_TOKEN": "one", "API_TOKEN_FILE": __file__},
    ],
)
def test_unusable_tokens_stop_the_start(environment):
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(environment)

    assert error.value.problems[0].startswith("API_TOKEN")
    assert "a:b:c" not in str(error.value)
