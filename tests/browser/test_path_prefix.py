"""The dashboard under a path of its own, behind nginx with https, as docs/proxy.md has it."""

import datetime
import ipaddress
import re
import ssl
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import expect

from tests.browser.conftest import serving, started
from tests.browser.support import ALICE, Watched
from tests.browser.test_access import sign_in
from tests.browser.test_data import DROP, GOOD, row
from tests.integration.nginx import Nginx

pytestmark = pytest.mark.needs("nginx")

ROOT = Path(__file__).parents[2]
NGINX_BLOCK = re.compile(r"```nginx\n(.*?)```", re.DOTALL)


def make_certificate(folder):
    """Return the files of a certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("behind"), API_TOKEN=f"alice:{ALICE}") as server:
        yield server


@pytest.fixture(scope="module")
def nginx(tmp_path_factory, backend):
    """nginx with the block of the documentation, for the address of the test's server."""
    folder = tmp_path_factory.mktemp("nginx")
    block = NGINX_BLOCK.search((ROOT / "docs" / "proxy.md").read_text())[1]
    assert "http://127.0.0.1:31112" in block
    block = block.replace("http://127.0.0.1:31112", backend.url)
    nginx = Nginx(folder, block, certificate=make_certificate(folder))
    yield nginx
    nginx.close()


@pytest.fixture
def behind(chromium, nginx):
    """A page behind nginx, signed in; no request may leave the prefix."""
    root = f"{nginx.url}/train/"
    context = chromium.new_context(ignore_https_errors=True, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(60_000)
    watched = Watched(context.new_page(), root)
    watched.page.goto = started(watched.page, watched.page.goto)
    watched.page.goto(f"{root}ui")
    sign_in(watched.page, ALICE)
    expect(watched.page.get_by_role("heading", level=1)).to_have_text("Experiments")
    watched.refused(401)
    yield watched
    context.close()
    assert watched.complaints == []
    assert watched.elsewhere == []


def test_session(behind):
    (cookie,) = behind.page.context.cookies()
    assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == ("/train/", True, True)
    behind.page.get_by_role("button", name="Sign out").click()
    expect(behind.page.get_by_label("API token")).to_be_visible()
    assert behind.page.context.cookies() == []
    behind.refused(401)


def test_submit_follow_and_delete(behind, nginx):
    page = behind.page
    page.locator("#main").get_by_role("link", name="New experiment").click()
    page.get_by_label("Name").fill("실험 1 %2F")
    page.get_by_label("Epochs").fill("100000")
    page.get_by_role("button", name="Start the experiment").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("실험 1 %2F")
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("at epoch"))
    assert page.url.startswith(f"{nginx.url}/train/ui/experiments/")
    expect(page.locator("#curl")).to_contain_text(f"{nginx.url}/train/experiments")
    expect(page.get_by_role("log", name="Log").locator(".line").nth(2)).to_be_attached()  # a stream
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the experiment").click()
    expect(page.locator("#state .chip")).to_have_text("cancelled")
    with page.expect_download() as download:
        page.locator("#zip").click()
    assert download.value.path().stat().st_size > 0
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the experiment").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Experiments")


def test_data_sets(behind, nginx):
    page = behind.page
    page.goto(f"{nginx.url}/train/ui/inputs")
    page.evaluate(DROP, ["table.csv", GOOD.decode()])
    expect(row(page, "table.csv")).to_contain_text("2 rows × 2 columns")
    page.get_by_role("button", name="Delete table.csv").click()
    page.get_by_role("button", name="Delete it", exact=True).click()
    expect(row(page, "table.csv")).to_have_count(0)
    page.get_by_role("link", name="digits.npz", exact=True).click()
    sheet = page.get_by_role("img", name="The first images of digits.npz")
    assert sheet.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def test_many_at_once(behind, nginx, backend):
    for name in ("many 1", "many 2"):
        backend.submit(name, learning_rate=0.001, epoch=1)
    backend.until_ended("many 1", "many 2")
    page = behind.page
    page.goto(f"{nginx.url}/train/ui?q=many")
    for name in ("many 1", "many 2"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.locator('[data-bulk="tag"]').click()
    page.locator("#bulk-tag").fill("together")
    page.get_by_role("button", name="Tag them").click()
    expect(page.locator("#bulk .told")).to_have_text("Done for all 2.")
    assert backend.ask("/experiments/many 1")["tags"] == ["together"]


def test_documentation_can_be_tried(behind, nginx):
    page = behind.page
    page.goto(f"{nginx.url}/train/docs")
    page.locator("#operations-Server-hello .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".request-url pre")).to_have_text(f"{nginx.url}/train/")
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")


def test_large_upload_is_not_limited_by_nginx(nginx, backend):
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    content = b"a,b\n" + b"1,2\n" * 1_000_000
    request = urllib.request.Request(
        f"{nginx.url}/train/inputs/large.csv",
        content,
        {"Authorization": f"Bearer {ALICE}", "Content-Type": "application/octet-stream"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=60, context=trust) as answer:
        assert (answer.status, answer.headers["Location"]) == (201, "/train/inputs/large.csv")
    stored = backend.folder / "input" / "large.csv"
    assert stored.stat().st_size == len(content)
