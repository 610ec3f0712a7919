"""The input folder: list, download, upload."""

import errno
import fcntl
import io
import os
import threading
import time
import zipfile
from urllib.parse import quote

import pytest

from backend.files import inputs as module
from tests.component.support import FORM, check_problem


@pytest.fixture
def folder(settings):
    return settings.input_dir


def put(client, name="a.csv", content=b"1,2\n", query="", **headers):
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    return client.put(f"/inputs/{quote(name)}{query}", data=content, headers=headers)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def of_unknown_length(body):
    """Return the WSGI environment of a chunked body."""
    return {
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
    }


def test_upload_list_download_train(client, folder):
    response = put(client, "데이터 1.csv")

    assert response.status_code == 201
    assert response.json["name"] == "데이터 1.csv"
    assert response.json["size"] == 4
    assert response.headers["ETag"] == response.json["etag"]
    assert client.get("/inputs").json == [response.json]
    assert names(folder) == ["데이터 1.csv"]
    with client.get(response.headers["Location"]) as download:
        assert download.data == b"1,2\n"
        assert download.headers["ETag"] == response.json["etag"]
    assert client.post("/test", data=FORM | {"dataset": "데이터 1.csv"}).status_code == 201


def test_range(client):
    put(client)
    with client.get("/inputs/a.csv", headers={"Range": "bytes=2-"}) as part:
        assert (part.status_code, part.data) == (206, b"2\n")


def test_not_found(client, folder):
    assert client.get("/inputs").json == []
    check_problem(client.get("/inputs/none.csv"), 404, "none.csv")
    folder.rmdir()
    assert client.get("/inputs").json == []


def test_other_files_are_no_data_sets(client, folder):
    for name in (".hidden.csv", "README.md", "a.npy.part"):
        (folder / name).touch()
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")

    assert client.get("/inputs").json == []
    for name in (*names(folder), "..", "../a.csv", "a\\b.csv"):
        assert client.get(f"/inputs/{quote(name)}").status_code == 404


def test_overwrite_needs_consent(client, folder):
    """An existing data set is replaced only with a matching If-Match or overwrite=true."""
    etag = put(client).json["etag"]

    check_problem(put(client, content=b"3,4\n"), 409, "If-Match", "overwrite=true")
    check_problem(put(client, content=b"3,4\n", If_Match='"other"'), 412, "GET /inputs")
    check_problem(put(client, query="?overwrite=true", If_Match='"other"'), 412)
    check_problem(put(client, "b.csv", If_Match="*"), 412)
    assert (folder / "a.csv").read_bytes() == b"1,2\n"

    replaced = put(client, content=b"3,4\n", If_Match=etag)
    assert replaced.status_code == 200
    assert replaced.json["etag"] != etag
    assert (folder / "a.csv").read_bytes() == b"3,4\n"
    assert put(client, content=b"5,6\n", query="?overwrite=true").status_code == 200
    assert put(client, content=b"7,8\n", If_Match="*").status_code == 200
    assert put(client, "b.csv", query="?overwrite=true").status_code == 201
    assert names(folder) == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a.txt",
        ".csv",
        ".a.csv",
        "..csv",
        "a\\b.csv",
        "a\nb.csv",
        "a.csv\0",
        "x" * 252 + ".csv",
    ],
)
def test_invalid_names(client, folder, name):
    check_problem(put(client, name), 422, ".npz")
    assert names(folder) == []


@pytest.mark.parametrize("name", ["../a.csv", "..%2fa.csv", "%2e%2e/a.csv", "/a.csv", "b/a.csv"])
def test_path_traversal(client, folder, name):
    response = client.put(f"/inputs/{name}", data=b"1")

    assert response.status_code in (404, 405, 308)
    assert names(folder) == []
    assert not (folder.parent / "a.csv").exists()


def test_too_large(app, client, folder):
    app.config["INPUT_MAX_BYTES"] = 1000

    assert put(client, content=b"1" * 1000, query="?validate=false").status_code == 201
    check_problem(put(client, "b.csv", content=bytes(1001)), 413, "1000 bytes", "INPUT_MAX_BYTES")
    chunked = client.put("/inputs/c.csv", environ_overrides=of_unknown_length(_Endless()))
    check_problem(chunked, 413, "1000 bytes")
    assert names(folder) == ["a.csv"]


class _Endless(io.RawIOBase):
    """A body without end."""

    def readable(self):
        return True

    def readinto(self, buffer):
        return len(buffer)


def test_upload_beyond_form_limit(client, folder):
    assert put(client, content=b"1,2\n" * 250_000).status_code == 201
    assert (folder / "a.csv").stat().st_size == 1_000_000


def test_empty_upload(client, folder):
    check_problem(put(client, content=b""), 422, "empty")
    assert names(folder) == []


@pytest.mark.parametrize(
    ("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EROFS, 503)]
)
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_unwritable_folder(client, folder, monkeypatch, number, status, call):
    put(client)
    true_call = getattr(os, call)

    def fail(path, *arguments, **options):
        if call == "open" and not arguments[0] & os.O_CREAT:
            return true_call(path, *arguments, **options)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, call, fail)
        response = put(client, content=b"3,4\n", query="?overwrite=true")

    check_problem(response, status, os.strerror(number), "nothing was changed")
    assert (folder / "a.csv").read_bytes() == b"1,2\n"
    assert names(folder) == ["a.csv"]


def test_missing_folder(client, folder):
    folder.rmdir()
    check_problem(put(client), 503, "nothing was changed")


def test_concurrent_uploads(app, folder):
    both_are_on_their_way, answers = threading.Barrier(2), []

    class Body(io.RawIOBase):
        def __init__(self, content):
            self._content = [content[:5], content[5:], b""]

        def readable(self):
            return True

        def readinto(self, buffer):
            if len(self._content) == 2:
                both_are_on_their_way.wait(30)
            piece = self._content.pop(0)
            buffer[: len(piece)] = piece
            return len(piece)

    def upload(content):
        answers.append(
            app.test_client().put(
                "/inputs/a.csv", environ_overrides=of_unknown_length(Body(content))
            )
        )

    contents = (b"1" * 10, b"2" * 10)
    threads = [threading.Thread(target=upload, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert (folder / "a.csv").read_bytes() in contents
    assert names(folder) == ["a.csv"]


def test_stale_partial_upload_removed(client, folder):
    for name, age in ((".upload.old", 0), (".upload.new", None)):
        (folder / name).touch()
        if age is not None:
            os.utime(folder / name, (age, age))
    put(client)

    assert names(folder) == [".upload.new", "a.csv"]


def test_abandoned_upload_removed(client, folder):
    """Within minutes, but not that of a process that still holds its file."""
    past = time.time() - 2 * module.STALE_SECONDS
    for name in (".upload.dead", ".upload.alive"):
        (folder / name).touch()
        os.utime(folder / name, (past, past))
    with (folder / ".upload.alive").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        put(client)

    assert names(folder) == [".upload.alive", "a.csv"]


def test_lock_of_another_user(client, folder):
    """Everyone who can read the folder can lock it."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert put(client).status_code == 201
    finally:
        os.close(descriptor)


def test_lock_is_not_awaited_for_ever(client, folder, monkeypatch):
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.0)
    lock = folder / f".lock-{os.geteuid()}"
    lock.touch(0o600)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        response = put(client)
    check_problem(response, 503, "nothing was changed")
    assert response.headers["Retry-After"]

    assert put(client).status_code == 201
    assert names(folder) == ["a.csv"]


@pytest.mark.parametrize("plant", ["fifo", "link", "folder", "public"])
def test_planted_lock(client, folder, plant, tmp_path):
    lock = folder / f".lock-{os.geteuid()}"
    if plant == "fifo":
        os.mkfifo(lock, 0o600)
    elif plant == "link":
        lock.symlink_to(tmp_path / "elsewhere")
    elif plant == "folder":
        lock.mkdir()
    else:
        lock.touch()
        lock.chmod(0o666)

    check_problem(put(client), 503, "nothing was changed")
    assert not (tmp_path / "elsewhere").exists()


def archive(*sizes, names="abc"):
    """Return a .npz file with arrays of zeros of these sizes in bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, size in zip(names, sizes, strict=False):
            with file.open(f"{name}.npy", "w") as array:
                for _ in range(size // 2**20):
                    array.write(bytes(2**20))
    return content.getvalue()


def array_of(shape, descr="<f8", content=b""):
    """Return a .npy file with this header and content."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def claiming(content, size):
    """Return an archive of one array whose directory claims `size` bytes for it."""
    start = content.rindex(b"PK\1\2") + 24
    return content[:start] + size.to_bytes(4, "little") + content[start + 4 :]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bomb.npz", lambda: archive(260 * 2**20), "expand to"),
        ("two.npz", lambda: archive(130 * 2**20, 130 * 2**20), "expand to"),
        ("claim.npz", lambda: claiming(archive(2**20), 2**32 - 2), "expand to"),
        ("list.npz", lambda: archive(2**20)[:-10] + b"\xff\xff\xff\x7f" + bytes(6), "its list"),
        ("huge.npy", lambda: array_of((10**15, 64)), "claims"),
        ("short.npy", lambda: array_of((2, 2), "<f4", bytes(15)), "claims"),
        ("below.npy", lambda: array_of((-1, -8)), "claims"),
        ("LONG.NPY", lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "header"),
    ],
)
def test_claimed_sizes_refused(client, folder, name, content, words):
    response = put(client, name, content())

    check_problem(response, 422, name, words)
    assert names(folder) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zeros.npz", archive(20 * 2**20)),
        ("good.npy", array_of((2, 2), "<f4", bytes(16))),
        ("text.npy", array_of((2,), "<U2", bytes(16))),
        ("other.npz", b"PK\5\6"),
        ("other.npy", b"\x93NUMPY\x01\x00\x02\x00({"),
        ("nested.npy", b"\x93NUMPY\x01\x00\xff\x7f" + b"(" * 32767),
        ("records.npy", array_of((2,), [("a", "<f4")])),
        ("text.csv", b"PK\5\6"),
    ],
)
def test_other_content_is_stored_on_request(client, name, content):
    """Of `validate=false`, only sizes that no trainer could use are refused."""
    assert put(client, name, content, "?validate=false").status_code == 201


def test_submit_with_missing_data_set(client, launcher):
    put(client)
    response = client.post("/test", data=FORM | {"dataset": "b.csv"})

    check_problem(response, 422, "a.csv")
    assert not launcher.jobs


def test_invalid_query(client):
    assert put(client, query="?overwrite=perhaps").status_code == 422
    assert put(client, query="?force=1").status_code == 422


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "Multipart/Form-Data"],
)
def test_form_is_no_file(client, folder, content_type):
    """`curl -F file=@a.csv`, `-d @a.csv`, and Postman's form-data."""
    check_problem(put(client, Content_Type=content_type), 415, "curl -T")
    assert names(folder) == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_compressed_file_refused(client, folder, encoding):
    check_problem(put(client, Content_Encoding=encoding), 415, "uncompressed")
    assert names(folder) == []


def test_part_of_a_file_refused(client, folder):
    """RFC 9110, 14.5: a PUT with Content-Range must not be stored as the whole."""
    put(client)

    response = put(client, "a.csv", b"9", "?overwrite=true", Content_Range="bytes 0-0/4")
    check_problem(response, 400, "Content-Range")
    assert (folder / "a.csv").read_bytes() == b"1,2\n"


@pytest.mark.parametrize("content_type", ["text/csv", "application/octet-stream", "text/plain"])
def test_content_types_of_files(client, content_type):
    assert put(client, Content_Type=content_type).status_code == 201


def test_delete(client, folder):
    put(client, "데이터.csv")
    put(client, "b.csv")

    assert client.delete(f"/inputs/{quote('데이터.csv')}").status_code == 204
    assert names(folder) == ["b.csv"]
    check_problem(client.delete(f"/inputs/{quote('데이터.csv')}"), 404)
    check_problem(client.delete("/inputs/..%2Fb.csv"), 404)
    check_problem(client.delete("/inputs/.upload.x"), 404)
    check_problem(client.delete("/inputs/b.csv?force=perhaps"), 422)
    assert names(folder) == ["b.csv"]


@pytest.mark.parametrize("dataset", ["a.csv", ""])
def test_delete_spares_what_live_experiments_use(client, folder, make_experiment, dataset):
    put(client)
    put(client, "b.csv")
    client.post("/test", data=FORM | {"dataset": dataset})

    refused = client.delete("/inputs/a.csv")

    detail = check_problem(refused, 409)["detail"]
    assert FORM["experiment_id"] in detail
    assert "?force=true" in detail
    assert client.delete("/inputs/b.csv").status_code == (204 if dataset else 409)
    assert client.delete("/inputs/a.csv?force=true").status_code == 204
    assert "a.csv" not in names(folder)
