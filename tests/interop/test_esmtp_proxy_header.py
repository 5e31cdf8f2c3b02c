"""PROXY headers from the running proxy: Postfix and Exim take the client from them, and version 2 tells the TLS facts."""

import contextlib
import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import BANNED
from tests.support.certificates import Issued
from tests.support.exim import Exim
from tests.support.mail_proxy import CLIENT, MODES, MailListen, MailProxy, address_of, connect
from tests.support.mailboxes import DOMAIN, received_of
from tests.support.postfix import Postfix
from tests.support.servers import Server
from tlsproxy.identity.proxy_header import ProxyHeader, ProxyHeaderParser

SOURCE = "127.0.0.5"

IDENTITIES = ["proxy_v1", "proxy_v2"]


def send(session: smtplib.SMTP, marker: str) -> None:
    content = f"Subject: {marker}\r\nMessage-Id: <{marker}@x>\r\n\r\nbody"
    session.sendmail("a@sender.example", [f"user@{DOMAIN}"], content)


@pytest.mark.parametrize("mode", ["plain", *MODES])
@pytest.mark.parametrize("identity", IDENTITIES)
def test_postfix_knows_the_client(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    identity: str,
    mode: str,
) -> None:
    marker = new_marker()
    port = postfix_proxy.port(f"{identity} {'may' if mode == 'plain' else mode}")
    with connect(port, mode, client_context, source=SOURCE) as session:
        client = address_of(session)
        send(session, marker)
    received = received_of(mail_postfix.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from {CLIENT} (unknown [{SOURCE}])")
    mail_postfix.wait_for_log(rf": client=unknown\[{re.escape(SOURCE)}\]:{client.rpartition(':')[2]}$")


@pytest.mark.parametrize("identity", IDENTITIES)
def test_postfix_decides_by_the_client(
    postfix_proxy: MailProxy, client_context: ssl.SSLContext, identity: str
) -> None:
    for source, code in ((BANNED, 554), (SOURCE, 250)):
        with connect(postfix_proxy.port(f"{identity} may"), "may", client_context, source=source) as session:
            session.ehlo()
            session.mail("a@sender.example")
            assert session.rcpt(f"user@{DOMAIN}")[0] == code


def test_an_ipv6_client(
    mail_postfix: Postfix,
    postfix_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
) -> None:
    marker = new_marker()
    port = postfix_proxy.port("IPv6 and PROXY header")
    with connect(port, "may", client_context, host="::1") as session:
        client = address_of(session)
        send(session, marker)
    received = received_of(mail_postfix.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from {CLIENT} (unknown [IPv6:::1])")
    mail_postfix.wait_for_log(rf": client=unknown\[::1\]:{client.rpartition(':')[2]}$")


@pytest.mark.parametrize("mode", ["plain", *MODES])
@pytest.mark.parametrize("identity", IDENTITIES)
def test_exim_knows_the_client(
    mail_exim: Exim,
    exim_proxy: MailProxy,
    client_context: ssl.SSLContext,
    new_marker: Callable[[], str],
    identity: str,
    mode: str,
) -> None:
    marker = new_marker()
    port = exim_proxy.port(f"{identity} {'may' if mode == 'plain' else mode}")
    with connect(port, mode, client_context, source=SOURCE) as session:
        client = address_of(session)
        send(session, marker)
    received = received_of(mail_exim.wait_for_message(marker.encode()))
    assert received.startswith(f"Received: from [{SOURCE}] (port={client.rpartition(':')[2]} helo={CLIENT})")
    logged = mail_exim.wait_for_log(
        rf"H=\({CLIENT}\) \[(\S+)\]:(\d+) P=esmtp PRX=127\.0\.0\.1 .* id={marker}@x$"
    )
    assert logged.groups() == tuple(client.split(":"))


# What the header says, read by a server that keeps it.


class Recorder(Server):
    """An SMTP server that wants a PROXY header.

    :ivar headers: Each connection's.
    """

    def __init__(self) -> None:
        self.headers: list[ProxyHeader] = []
        self.commands: list[list[bytes]] = []
        self.ended = threading.Semaphore(0)
        super().__init__(self._serve_mail)

    def _serve_mail(self, connection: socket.socket) -> None:
        commands: list[bytes] = []
        self.commands.append(commands)
        try:
            parser = ProxyHeaderParser()
            header = None
            while header is None:
                header = parser.feed(connection.recv(1))
            self.headers.append(header)
            connection.sendall(b"220 recorder.example\r\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    commands.append(line.strip())
                    connection.sendall(b"221 Bye\r\n" if line.startswith(b"QUIT") else b"250 Ok\r\n")
        finally:
            self.ended.release()


@contextlib.contextmanager
def recording(directory: Path, certificate: Issued) -> Iterator[tuple[Recorder, MailProxy]]:
    with Recorder() as recorder:
        told = {"identity": "proxy_v2"}
        alpn = {"tls_alpn_protocols": ["smtp"]}
        listens = {
            mode: MailListen(recorder.address, {**options, **alpn}, told) for mode, options in MODES.items()
        }
        with MailProxy(directory, certificate, listens) as proxy:
            yield recorder, proxy


def test_version_2_tells_the_tls_of_the_connection_it_is_sent_on(
    tmp_path: Path, certificate: Issued, authority_context: ssl.SSLContext
) -> None:
    """None before STARTTLS; behind STARTTLS there is a connection of its own, with the truth in its header."""
    with recording(tmp_path, certificate) as (recorder, proxy):
        for mode in MODES:
            with connect(
                proxy.port(mode), mode, authority_context, host="localhost", source=SOURCE
            ) as session:
                session.ehlo()
            recorder.ended.acquire(timeout=10)
        recorder.ended.acquire(timeout=10)
    facts = [header.tls for header in recorder.headers]
    assert [tls is None for tls in facts] == [True, False, False, False]
    for header in recorder.headers:
        assert str(header.source).startswith(f"{SOURCE}:")
        assert str(header.destination).startswith("127.0.0.1:")
    for tls in facts[1:]:
        assert tls is not None
        assert (tls.version, tls.cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        assert (tls.server_name, tls.alpn) == ("localhost", "smtp")
    assert [commands[0].upper() for commands in recorder.commands] == [f"EHLO {CLIENT}".upper().encode()] * 4
    assert recorder.commands[0][-1] == b"QUIT", "the plaintext connection ends in order"


@pytest.fixture
def authority_context(client_context: ssl.SSLContext) -> Iterator[ssl.SSLContext]:
    """The shared context, offering ALPN for the time of a test."""
    client_context.set_alpn_protocols(["smtp"])
    yield client_context
    client_context.set_alpn_protocols([])
