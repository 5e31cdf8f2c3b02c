"""Sessions of a stream listener from outside: certificates, time-outs, refusals, and what the log says of each."""

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests.support.certificates import Authority
from tests.support.processes import free_port, run
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

CONFIG = """
    tls_certificate = ["{mail_rsa.chain_path}", "{mail_ecdsa.chain_path}", "{wild.chain_path}"]
    tls_key = ["{mail_rsa.key_path}", "{mail_ecdsa.key_path}", "{wild.key_path}"]
    handshake_timeout = 0.5
    idle_timeout = 1
    close_timeout = 0.5
    [backend.echo]
    servers = ["{backend}"]
    [backend.dead]
    servers = ["127.0.0.1:{dead}"]
    [[stream_listener]]
    backend = "echo"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      tls_verify_mode = "require"
      tls_client_ca = "{ca}"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      tls_alpn_protocols = ["smtp", "ecstream"]
      [[stream_listener.listen]]
      address = "[::]:0"
        [[stream_listener.listen.peer]]
        network = "127.0.0.2"
        tls_protocols = "TLSv1.2"
    [[stream_listener]]
    backend = "dead"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
"""
LISTENS = ["plain", "client certificate", "alpn", "dual stack", "dead backend"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Proxy]:
    with Server(echo) as backend:
        toml = CONFIG.format(
            mail_rsa=authority.issue("mail.example.org", key_type="rsa"),
            mail_ecdsa=authority.issue("mail.example.org"),
            wild=authority.issue("*.example.net"),
            backend=backend.address,
            dead=free_port(),
            ca=authority.path,
        )
        with Proxy.start(tmp_path_factory.mktemp("proxy"), toml) as running:
            running.wait_until(lambda: len(running.ports()) == len(LISTENS), "not every listen is open")
            yield running


def port(proxy: Proxy, listen: str) -> int:
    return proxy.ports()[LISTENS.index(listen)]


def context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.path))


def subject(certificate: object) -> str:
    return dict(pair for (pair,) in certificate["subject"])["commonName"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("server_name", "common_name"),
    [
        ("mail.example.org", "mail.example.org"),
        ("MAIL.example.ORG", "mail.example.org"),
        ("a.example.net", "*.example.net"),
        ("a.b.example.net", "mail.example.org"),
        ("unknown.test", "mail.example.org"),
        (None, "mail.example.org"),
    ],
)
def test_sni_chooses_the_certificate(
    proxy: Proxy, authority: Authority, server_name: str | None, common_name: str
) -> None:
    client_context = context(authority)
    client_context.check_hostname = False
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "plain")), timeout=10) as plain:
        with client_context.wrap_socket(plain, server_hostname=server_name) as client:
            assert subject(client.getpeercert()) == common_name
    note = proxy.wait_for_note("tls_established", after=seen)
    assert note.get("server_name") == (server_name.lower() if server_name else None)


@pytest.mark.parametrize(
    ("algorithms", "key"), [("RSA+SHA256:RSA-PSS+SHA256", "RSA"), ("ECDSA+SHA256", "EC")]
)
def test_rsa_and_ecdsa_are_served_side_by_side(
    proxy: Proxy, authority: Authority, algorithms: str, key: str
) -> None:
    openssl = require("openssl", package="openssl")
    status, output = run(
        [
            *(
                openssl,
                "s_client",
                "-connect",
                f"127.0.0.1:{port(proxy, 'plain')}",
                "-CAfile",
                authority.path,
            ),
            *("-sigalgs", algorithms, "-servername", "mail.example.org", "-verify_return_error"),
        ]
    )
    assert status == 0
    assert f"PKEY: {'rsaEncryption' if key == 'RSA' else 'id-ecPublicKey'}" in output
    assert "Verify return code: 0 (ok)" in output


def test_a_verified_client_certificate_is_logged(proxy: Proxy, authority: Authority) -> None:
    issued = authority.issue(common_name="scanner 7", client=True)
    client_context = context(authority)
    client_context.load_cert_chain(issued.chain_path, issued.key_path)
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "client certificate")), timeout=10) as plain:
        with client_context.wrap_socket(plain, server_hostname="mail.example.org") as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"
    note = proxy.wait_for_note("tls_established", after=seen)
    assert (note["client_subject"], note["client_verified"]) == ("CN=scanner 7", True)


def test_a_missing_client_certificate_is_refused(proxy: Proxy, authority: Authority) -> None:
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "client certificate")), timeout=10) as plain:
        with context(authority).wrap_socket(plain, server_hostname="mail.example.org") as client:
            with pytest.raises(ssl.SSLError, match="certificate required"):
                client.recv(1)
    note = proxy.wait_for_note("tls_refused", after=seen)
    assert note["reason"] == "handshake_failed"
    assert "certificate" in note["detail"]


def test_a_foreign_client_certificate_is_refused(proxy: Proxy, authority: Authority, tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue(common_name="intruder", client=True)
    client_context = context(authority)
    client_context.load_cert_chain(issued.chain_path, issued.key_path)
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "client certificate")), timeout=10) as plain:
        with client_context.wrap_socket(plain, server_hostname="mail.example.org") as client:
            with pytest.raises(ssl.SSLError, match="unknown ca"):
                client.recv(1)
    assert proxy.wait_for_note("session_ended", after=seen)["reason"] == "handshake_failed"


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["ecstream", "smtp"], "smtp"), (["ecstream"], "ecstream"), ([], None)]
)
def test_alpn_is_negotiated_in_the_servers_order(
    proxy: Proxy, authority: Authority, offered: list[str], chosen: str | None
) -> None:
    client_context = context(authority)
    client_context.set_alpn_protocols(offered)
    with socket.create_connection(("127.0.0.1", port(proxy, "alpn")), timeout=10) as plain:
        with client_context.wrap_socket(plain, server_hostname="mail.example.org") as client:
            assert client.selected_alpn_protocol() == chosen


def test_a_client_with_foreign_alpn_alone_is_refused(proxy: Proxy, authority: Authority) -> None:
    client_context = context(authority)
    client_context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port(proxy, "alpn")), timeout=10) as plain:
        with pytest.raises(ssl.SSLError, match="no application protocol"):
            client_context.wrap_socket(plain, server_hostname="mail.example.org")


def test_the_versions_are_those_of_the_peers_scope_on_a_dual_stack_listen(
    proxy: Proxy, authority: Authority
) -> None:
    """127.0.0.2 arrives as ::ffff:127.0.0.2 and is found in its IPv4 network all the same."""
    versions = {}
    for source in ("127.0.0.1", "127.0.0.2"):
        with (
            socket.create_connection(
                ("127.0.0.1", port(proxy, "dual stack")), timeout=10, source_address=(source, 0)
            ) as plain,
            context(authority).wrap_socket(plain, server_hostname="mail.example.org") as client,
        ):
            versions[source] = client.version()
    assert versions == {"127.0.0.1": "TLSv1.3", "127.0.0.2": "TLSv1.2"}
    clients = {
        note["client"].rpartition(":")[0] for note in proxy.notes if note["event"] == "tls_established"
    }
    assert {"127.0.0.1", "127.0.0.2"} <= clients


def test_an_old_client_is_refused_with_an_alert_and_its_offer_logged(proxy: Proxy) -> None:
    openssl = require("openssl", package="openssl")
    seen = len(proxy.notes)
    _, output = run(
        [
            *(openssl, "s_client", "-connect", f"127.0.0.1:{port(proxy, 'plain')}"),
            *("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-servername", "mail.example.org"),
        ]
    )
    assert "alert protocol version" in output
    note = proxy.wait_for_note("tls_refused", after=seen)
    assert note["offered_versions"] == "<=TLSv1.1"
    assert note["server_name"] == "mail.example.org"


def test_plaintext_on_a_tls_listen_is_refused(proxy: Proxy) -> None:
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "plain")), timeout=10) as plain:
        plain.sendall(b"EHLO client.example\r\n")
        answer = b"".join(iter(lambda: plain.recv(100), b""))
    assert answer[:1] in (b"\x15", b""), "an alert, or nothing"
    assert proxy.wait_for_note("tls_refused", after=seen)["reason"] == "handshake_failed"


def test_a_silent_client_is_closed_at_the_handshake_timeout(proxy: Proxy) -> None:
    seen = len(proxy.notes)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port(proxy, "plain")), timeout=10) as plain:
        assert plain.recv(1) == b""
    assert 0.4 < time.monotonic() - began < 5
    assert proxy.wait_for_note("tls_refused", after=seen)["reason"] == "handshake_timeout"


def test_a_health_check_is_not_a_refusal(proxy: Proxy) -> None:
    """A balancer connects and closes."""
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "plain")), timeout=10) as plain:
        client = "{}:{}".format(*plain.getsockname())
    assert proxy.wait_for_note("session_ended", after=seen, client=client)["reason"] == "client_closed"
    assert not [note for note in proxy.notes if note["event"] == "tls_refused" and note["client"] == client]


def test_an_idle_session_is_closed_in_order(proxy: Proxy, authority: Authority) -> None:
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "plain")), timeout=10) as plain:
        with context(authority).wrap_socket(plain, server_hostname="mail.example.org") as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            assert client.recv(1) == b"", "close_notify"
    assert proxy.wait_for_note("session_ended", after=seen)["reason"] == "idle_timeout"


def test_a_backend_that_is_down_is_logged_and_ends_the_session(proxy: Proxy, authority: Authority) -> None:
    seen = len(proxy.notes)
    with socket.create_connection(("127.0.0.1", port(proxy, "dead backend")), timeout=10) as plain:
        with context(authority).wrap_socket(plain, server_hostname="mail.example.org") as client:
            assert client.recv(1) == b""
    note = proxy.wait_for_note("backend_failed", after=seen)
    assert (note["backend"], note["detail"]) == ("dead", "connection refused")
    assert proxy.wait_for_note("session_ended", after=seen)["reason"] == "backend_unavailable"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_sessions_resume(proxy: Proxy, authority: Authority, version: str) -> None:
    client_context = context(authority)
    client_context.minimum_version = client_context.maximum_version = ssl.TLSVersion[version]
    session = None
    for reused in (False, True):
        with socket.create_connection(("127.0.0.1", port(proxy, "plain")), timeout=10) as plain:
            with client_context.wrap_socket(
                plain, server_hostname="mail.example.org", session=session
            ) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
                session = client.session
                assert client.session_reused is reused


def test_stopping_tells_running_sessions_in_order(tmp_path: Path, authority: Authority) -> None:
    issued = authority.issue("localhost")
    toml = f"""
        tls_certificate = "{issued.chain_path}"
        tls_key = "{issued.key_path}"
        [backend.echo]
        servers = ["{{}}"]
        [[stream_listener]]
        backend = "echo"
          [[stream_listener.listen]]
          address = "127.0.0.1:0"
    """
    with Server(echo) as backend, Proxy.start(tmp_path, toml.format(backend.address)) as proxy:
        plain = socket.create_connection(("127.0.0.1", proxy.ports()[0]), timeout=10)
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
        plain.setblocking(True)
        client.set_connect_state()
        client.do_handshake()
        proxy.wait_for_note("tls_established")
        proxy.process.terminate()
        with pytest.raises(SSL.ZeroReturnError):
            client.recv(1)
        plain.close()
        proxy.wait()
        assert proxy.wait_for_note("stopped")["sessions_cut"] == 1
        assert proxy.wait_for_note("session_ended")["reason"] == "shutdown"
