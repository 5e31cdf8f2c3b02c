"""A balancer in front of the proxy (``proxy_protocol_from``): the client that its header names is the client everywhere."""

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from tests.support.mail_proxy import CLIENT, MODES, TIMEOUT, MailProxy, connect
from tests.support.mailboxes import DOMAIN, received_of
from tests.support.postfix import Postfix
from tests.support.processes import Program, free_ports
from tests.support.programs import require
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.proxy_header import LOCAL_V2, encode_v1, encode_v2

SOURCE = "127.0.0.5"

VERSIONS = {"v1": "send-proxy", "v2": "send-proxy-v2"}


def listen(mode: str) -> str:
    return f"behind a balancer {mode}"


@pytest.fixture(scope="module")
def haproxy(postfix_proxy: MailProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The port for each version and mode: ``"v2 may"``."""
    ways = {
        f"{version} {mode}": (option, postfix_proxy.port(listen(mode)))
        for version, option in VERSIONS.items()
        for mode in MODES
    }
    ports = dict(zip(ways, free_ports(len(ways)), strict=True))
    config = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    lines = ["defaults", "  timeout connect 10s", "  timeout client 20s", "  timeout server 20s"]
    for number, (way, (option, port)) in enumerate(ways.items()):
        lines += [f"listen way-{number}", "  mode tcp", f"  bind 127.0.0.1:{ports[way]}"]
        lines.append(f"  server tlsproxy 127.0.0.1:{port} {option}")
    config.write_text("\n".join(lines) + "\n")
    with Program([require("haproxy", package="haproxy"), "-db", "-f", config]) as program:
        program.wait_for_port(*ports.values())
        yield ports


@pytest.mark.parametrize("mode", ["plain", *MODES])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_client_goes_all_the_way_to_postfix(
    haproxy: dict[str, int],
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    mode: str,
    version: str,
) -> None:
    """From HAProxy's header into our XCLIENT, and into our log."""
    marker = new_marker()
    seen = len(postfix_proxy.program.notes)
    port = haproxy[f"{version} {'may' if mode == 'plain' else mode}"]
    with connect(port, mode, client_context, source=SOURCE) as session:
        assert session.sock is not None
        client_port = session.sock.getsockname()[1]
        session.sendmail("a@sender.example", [f"user@{DOMAIN}"], f"Subject: {marker}")
    received = received_of(mail_postfix.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from {CLIENT} (unknown [{SOURCE}])")
    mail_postfix.wait_for_log(rf": client=unknown\[{re.escape(SOURCE)}\]:{client_port}$")
    postfix_proxy.program.wait_for_note("session_ended", after=seen, client=f"{SOURCE}:{client_port}")


# Headers by hand: any split, none, and from anybody else.

NAMED = ClientAddress(ip_address("192.0.2.99"), 40099)
SERVER = ClientAddress(ip_address("198.51.100.7"), 25)
HEADERS = {"v1": encode_v1(NAMED, SERVER), "v2": encode_v2(NAMED, SERVER)}


def opened(port: int, source: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT, (source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def taken_over(connection: socket.socket) -> smtplib.SMTP:
    """A session on a connection whose server is about to speak."""
    session = smtplib.SMTP(timeout=TIMEOUT)
    session.sock = connection
    return session


@pytest.mark.parametrize("version", HEADERS)
def test_a_header_in_single_bytes(mail_postfix: Postfix, postfix_proxy: MailProxy, version: str) -> None:
    with opened(postfix_proxy.port(listen("may"))) as connection:
        for byte in HEADERS[version]:
            connection.sendall(bytes([byte]))
        session = taken_over(connection)
        assert session.getreply()[0] == 220
        assert session.ehlo(f"split-{version}.example")[0] == 250
        session.mail("a@sender.example")
        session.rcpt(f"user@{DOMAIN}")
        session.data(f"Subject: split-{version}".encode())
    message = mail_postfix.wait_for_message(f"Subject: split-{version}".encode())
    assert received_of(message).startswith(f"Received: from split-{version}.example (unknown [192.0.2.99])")


@pytest.mark.parametrize("version", HEADERS)
def test_a_header_and_a_client_hello_in_one_segment(
    postfix_proxy: MailProxy, client_context: ssl.SSLContext, version: str
) -> None:
    """What follows the header is the client's, whoever's buffer it is in."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with opened(postfix_proxy.port(listen("wrapper"))) as connection:
        connection.sendall(HEADERS[version] + outgoing.read())
        done = False
        while not done:
            data = connection.recv(65536)
            assert data
            incoming.write(data)
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
        connection.sendall(outgoing.read())
        postfix_proxy.program.wait_for_note("tls_established", client=str(NAMED), version="TLSv1.3")


def test_a_health_check_of_the_balancer(postfix_proxy: MailProxy) -> None:
    """Its header says LOCAL: the client is itself."""
    with opened(postfix_proxy.port(listen("may"))) as connection:
        own = "{}:{}".format(*connection.getsockname())
        connection.sendall(LOCAL_V2)
        session = taken_over(connection)
        assert session.getreply()[0] == 220
        session.quit()
    assert postfix_proxy.program.wait_for_note("session_ended", client=own)["reason"] == "client_quit"


def test_without_a_header_in_time_there_is_no_session(postfix_proxy: MailProxy) -> None:
    seen = len(postfix_proxy.program.notes)
    with opened(postfix_proxy.port(listen("may"))) as connection:
        own = "{}:{}".format(*connection.getsockname())
        connection.sendall(HEADERS["v1"][:10])
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    refused = postfix_proxy.program.wait_for_note("proxy_header_refused", after=seen, sender=own)
    assert refused["detail"] == "no PROXY header within 0.5 s"
    assert not postfix_proxy.notes(seen, "session_started")


@pytest.mark.parametrize(
    "instead", [b"EHLO client.example\r\n", b"PROXY TCP4 192.0.2.99 x 1 2\r\n", b"\x16\x03\x01"]
)
def test_what_is_no_header_is_refused_and_logged(postfix_proxy: MailProxy, instead: bytes) -> None:
    seen = len(postfix_proxy.program.notes)
    with opened(postfix_proxy.port(listen("may"))) as connection:
        own = "{}:{}".format(*connection.getsockname())
        connection.sendall(instead)
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    postfix_proxy.program.wait_for_note("proxy_header_refused", after=seen, sender=own)
    assert not postfix_proxy.notes(seen, "session_started")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", HEADERS)
def test_nobody_else_is_believed(
    mail_postfix: Postfix, postfix_proxy: MailProxy, version: str, mode: str
) -> None:
    seen, logged = len(postfix_proxy.program.notes), len(mail_postfix.log)
    with opened(postfix_proxy.port(listen(mode)), "127.0.0.6") as connection:
        own = "{}:{}".format(*connection.getsockname())
        connection.sendall(HEADERS[version])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    postfix_proxy.program.wait_for_note("session_ended", after=seen, client=own)
    assert "192.0.2.99" not in mail_postfix.log[logged:]
    assert not [note for note in postfix_proxy.program.notes[seen:] if "192.0.2.99" in str(note)]
