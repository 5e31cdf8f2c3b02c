"""Playbooks of SMTP sessions, at the points where most conversations begin."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import frozen

from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import ConnectBackend, StartTls
from tlsproxy.fronts.esmtp import EsmtpFront
from tlsproxy.fronts.events import BackendConnected, SessionOpened, TlsStarted
from tlsproxy.fronts.options import BareNewline, FrontOptions, IdentityMode, InjectionPolicy, TlsSecurityLevel
from tlsproxy.identity.client import ClientAddress, TlsFacts, normalized_address
from tlsproxy.policy.protocols import TlsProtocols

CLIENT = ClientAddress(normalized_address("192.0.2.7"), 51234)
LOCAL = ClientAddress(normalized_address("198.51.100.25"), 25)
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
OLD_TLS = TlsFacts("TLSv1", "AES128-SHA", 128)
OPENED = SessionOpened(CLIENT, LOCAL, tls_available=True, session="5f")
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

READY = to_client("220 2.0.0 Ready to start TLS")
UNAVAILABLE = "421 4.3.2 proxy.example Service not available, try again later"
CLOSING = "421 4.3.0 proxy.example Closing connection"


@frozen(kw_only=True)
class Settings:
    """The options of an ``esmtp`` session, with the defaults that they have in the catalogue."""

    tls_security_level: TlsSecurityLevel = TlsSecurityLevel.MAY
    tls_wrappermode: bool = False
    tls_auth_only: bool = True
    starttls_injection_policy: InjectionPolicy = InjectionPolicy.REJECT
    smtp_hostname: str = "proxy.example"
    smtp_auth_tls_protocols: TlsProtocols | None = None
    smtp_bare_newline: BareNewline = BareNewline.REJECT
    smtp_discard_ehlo_keywords: tuple[str, ...] = ()
    smtp_discard_ehlo_keywords_tls: tuple[str, ...] | None = None


def front(identity: IdentityMode = IdentityMode.NONE, **settings: Any) -> EsmtpFront:
    """A front with these settings."""
    return EsmtpFront(FrontOptions(Settings(**settings), identity, lambda: NOON))


Play = Callable[..., Playbook]
"""Takes what :func:`front` takes."""


@pytest.fixture
def play() -> Iterator[Play]:
    """Makes playbooks, each of which has to be at its end when the test is."""
    playbooks: list[Playbook] = []

    def make(identity: IdentityMode = IdentityMode.NONE, **settings: Any) -> Playbook:
        playbooks.append(Playbook(front(identity, **settings)))
        return playbooks[-1]

    yield make
    for playbook in playbooks:
        playbook.end()


def connected(playbook: Playbook) -> Playbook:
    """The backend's greeting has gone to the client."""
    playbook >> OPENED << ConnectBackend()
    playbook >> BackendConnected()
    return playbook >> backend("220 old.example ESMTP") << to_client("220 old.example ESMTP")


def greeted(playbook: Playbook, *offered: str, starttls: bool = True) -> Playbook:
    """EHLO was said, to a backend that offers these extensions; the client is told the same, and STARTTLS."""
    connected(playbook) >> client("EHLO c.example") << to_backend("EHLO c.example")
    told = [*offered, "STARTTLS"] if starttls else [*offered]
    return playbook >> backend(*ehlo_reply(*offered)) << to_client(*ehlo_reply(*told))


def in_tls(playbook: Playbook, *offered: str) -> Playbook:
    """STARTTLS and EHLO were said, to a backend that offers these extensions."""
    connected(playbook) >> client("STARTTLS") << to_client("220 2.0.0 Ready to start TLS") << StartTls()
    playbook >> TlsStarted(TLS)
    playbook >> client("EHLO c.example") << to_backend("EHLO c.example")
    return playbook >> backend(*ehlo_reply(*offered)) << to_client(*ehlo_reply(*offered))


def with_recipient(playbook: Playbook) -> Playbook:
    """MAIL and RCPT were accepted."""
    for command in ("MAIL FROM:<a@c.example>", "RCPT TO:<b@old.example>"):
        playbook >> client(command) << to_backend(command)
        playbook >> backend("250 Ok") << to_client("250 Ok")
    return playbook


def in_data(playbook: Playbook) -> Playbook:
    """The backend waits for a message."""
    with_recipient(playbook) >> client("DATA") << to_backend("DATA")
    return playbook >> backend("354 Go on") << to_client("354 Go on")


def ehlo_reply(*offered: str) -> list[str]:
    """The lines of an EHLO reply."""
    lines = ["old.example", *offered]
    return [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
