"""Bundles over HTTPS, from a real server on this host: what is fetched, and everything that is refused."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bedside.devices.store.fetching import download, without_secrets
from bedside.devices.store.installing import install
from bedside.devices.store.store import Store
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import BundleError, SourceError, UsageError

from .conftest import Make


class Server(msgspec.Struct):
    """What it answers, by path, and where it is."""

    url: str
    context: ssl.SSLContext
    bodies: dict[str, bytes]
    release: threading.Event


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bedside tests")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2120, 1, 1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    bodies: dict[str, bytes] = {}
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/to-http"):
                self._redirect("http://127.0.0.1:1/plain")
            elif path.startswith("/to/"):
                self._redirect(path.removeprefix("/to"))
            elif path == "/silent":
                release.wait(20)
            elif path in bodies:
                self.send_response(200)
                if not path.endswith("unsaid"):
                    promised = 10**6 if path.endswith("short") else len(bodies[path])
                    self.send_header("Content-Length", str(promised))
                self.end_headers()
                self.wfile.write(bodies[path])
            else:
                self.send_error(404)

        def _redirect(self, where: str) -> None:
            self.send_response(302)
            self.send_header("Location", where)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients leave early: that is what is tested."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Server(
            f"https://127.0.0.1:{http.server_address[1]}",
            ssl.create_default_context(cafile=str(certificate)),
            bodies,
            release,
        )
        release.set()
        http.shutdown()
        thread.join()


def fetched(server: Server, path: str, most: int = 1 << 20, **settings: float) -> bytes:
    body = bytearray()
    clock = ManualClock()
    download(server.url + path, body.extend, most=most, clock=clock, context=server.context, **settings)
    return bytes(body)


@pytest.mark.parametrize("path", ["/file", "/unsaid", "/to/file", "/to/to/file"])
def test_what_is_there_arrives(server: Server, path: str) -> None:
    server.bodies |= {"/file": b"x" * 300_000, "/unsaid": b"x" * 300_000}
    assert fetched(server, path) == b"x" * 300_000


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/none?token=secret", "the server answered 404"),
        ("/file", "has 5000 bytes, allowed are 4999"),
        ("/unsaid", "has more than 4999 bytes"),
        ("/short", r"has 1000000 bytes, allowed"),
        ("/to-http", "redirects to something that is not https"),
        ("/to/to/to/to/to/to/to/to/file", "302"),
    ],
)
def test_what_is_refused(server: Server, path: str, said: str) -> None:
    server.bodies |= dict.fromkeys(("/file", "/unsaid", "/short"), b"x" * 5000)
    with pytest.raises(SourceError, match=said) as refused:
        fetched(server, path, most=4999)
    line = str(refused.value)
    assert line.startswith(server.url) and "secret" not in line and line.isprintable()


def test_a_download_that_breaks_off(server: Server) -> None:
    server.bodies["/short"] = b"x" * 5000
    with pytest.raises(SourceError, match=r"ended after 5000 of 1000000 bytes|IncompleteRead"):
        fetched(server, "/short")


def test_a_server_that_says_nothing(server: Server) -> None:
    with pytest.raises(SourceError, match="timed out"):
        fetched(server, "/silent", silence_s=0.3)


def test_a_download_that_never_ends(server: Server) -> None:
    server.bodies["/file"] = b"x" * 5000
    clock = ManualClock()

    def late(data: bytes) -> None:
        clock.advance(10**9)

    server.bodies["/file"] = b"x" * (1 << 20)
    with pytest.raises(SourceError, match="has not ended after 2 s"):
        download(server.url + "/file", late, most=1 << 22, clock=clock, context=server.context, most_s=2.0)


def test_a_certificate_that_nobody_vouches_for(server: Server) -> None:
    server.bodies["/file"] = b"x"
    with pytest.raises(SourceError, match=r"self.signed certificate .*is this device's clock right"):
        download(server.url + "/file", bytearray().extend, most=10, clock=ManualClock())


def test_nobody_there() -> None:
    with pytest.raises(SourceError, match="check the address and the network"):
        download("https://127.0.0.1:9/x", bytearray().extend, most=10, clock=ManualClock())


@pytest.mark.parametrize("url", ["http://h/x", "ftp://h/x", "https://", "https://h:x/", "file:///etc/passwd"])
def test_only_https(store: Store, url: str) -> None:
    with pytest.raises(UsageError, match="is no https:// address"):
        without_secrets(url)
    with pytest.raises(UsageError, match="is no https:// address"):
        install(store, url, opening=open_bundle)


def test_names_and_queries_are_not_shown() -> None:
    assert without_secrets("https://maria:pw@Host:8443/b.bedside?token=1#x") == "https://host:8443/b.bedside"


def test_a_bundle_is_installed(server: Server, store: Store, make: Make) -> None:
    path = make("1.0.0")
    server.bodies |= {"/good": path.read_bytes(), "/bad": path.read_bytes()[:-1] + b"\x01"}

    def fetch(url: str, write: Callable[[bytes], None], most: int) -> None:
        download(url, write, most=most, clock=ManualClock(), context=server.context)

    with pytest.raises(BundleError, match=rf"{server.url}/bad: not a canonical bundle"):
        install(store, f"{server.url}/bad?key=secret", opening=open_bundle, fetch=fetch)
    with pytest.raises(SourceError, match="404"):
        install(store, f"{server.url}/none", opening=open_bundle, fetch=fetch)
    assert list(store.bundles.iterdir()) == []
    with open_bundle(path) as bundle:
        digest = bundle.digest
    done = install(store, f"{server.url}/good", opening=open_bundle, fetch=fetch, sha256=digest)
    assert done.new and done.ref.digest == digest
    assert not install(store, f"{server.url}/good", opening=open_bundle, fetch=fetch).new
    assert len(list(store.bundles.iterdir())) == 1
    assert [r.event for r in store.audit.records()] == ["refused", "installed"]
