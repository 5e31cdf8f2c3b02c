"""Tests for :mod:`tlsproxy.net.session`: what it notes for the shadow report."""

from typing import Any

import pytest

from tests.net.world import TlsClient, World
from tests.support.certificates import Authority
from tests.tls.peers import Peer, client_context
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.commands import StartTls
from tlsproxy.fronts.events import SessionOpened
from tlsproxy.net import session as session_module
from tlsproxy.notes import TlsEstablished, WouldBeRefused
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.contexts import ContextStore, ServerContext

CANDIDATE = TlsProtocols.parse(">=TLSv1.2")


@pytest.fixture(scope="module")
def context(authority: Authority) -> ServerContext:
    issued = authority.issue("mx.example.org", stem="session-report")
    options: dict[str, Any] = {
        "tls_certificate": (str(issued.chain_path),),
        "tls_key": (str(issued.key_path),),
        "tls_protocols": TlsProtocols.parse(">=TLSv1"),
        "tls_ciphers": "DEFAULT",
    }
    return ContextStore().server_context(Settings(**options), KINDS["esmtp"])


def served(
    context: ServerContext,
    version: TlsVersion,
    *,
    smtp: bool = True,
    name: bytes | None = None,
    **options: Any,
) -> World:
    """A session in TLS, whose client has given its name."""
    policy: dict[str, Any] = {
        "tls_protocols": TlsProtocols.parse(">=TLSv1"),
        "tls_protocols_report": CANDIDATE,
    }
    world = World(context=context, **policy | options)
    if not smtp:
        object.__setattr__(world.session._host.kind, "smtp", False)
    world.front.on(SessionOpened, StartTls())
    world.open()
    client = TlsClient(world, Peer.client(client_context(version), server_name=b"mx.example.org"))
    client.exchange()
    assert client.peer.established
    world.front.client_name = name
    return world


def ended(world: World) -> World:
    world.session.close("client_quit")
    world.lose_all()
    return world


def test_the_handshake_s_note_says_what_the_candidate_would_do(context: ServerContext) -> None:
    for version, refused in ((TlsVersion.TLS1_0, True), (TlsVersion.TLS1_3, False)):
        note = served(context, version).note(TlsEstablished)
        assert (note.candidate, note.would_be_refused) == ("TLSv1.2 TLSv1.3", refused)


def test_without_a_candidate_it_says_nothing(context: ServerContext) -> None:
    world = ended(served(context, TlsVersion.TLS1_0, tls_protocols_report=None))
    note = world.note(TlsEstablished)
    assert (note.candidate, note.would_be_refused) == (None, None)
    assert world.noted(WouldBeRefused) == []


def test_an_smtp_client_is_noted_at_the_end_with_its_name(context: ServerContext) -> None:
    world = served(context, TlsVersion.TLS1_1, name=b"Scanner.Example")
    assert world.noted(WouldBeRefused) == []
    note = ended(world).note(WouldBeRefused)
    assert note.helo == "scanner.example"
    assert (note.version, note.offered, note.candidate) == ("TLSv1.1", "<=TLSv1.1", "TLSv1.2 TLSv1.3")
    assert (note.network, note.server_name) == ("192.0.2.0/24", "mx.example.org")
    assert note.cipher == world.note(TlsEstablished).cipher


def test_any_other_is_noted_at_once(context: ServerContext) -> None:
    world = served(context, TlsVersion.TLS1_1, smtp=False)
    assert world.note(WouldBeRefused).helo is None
    assert len(ended(world).noted(WouldBeRefused)) == 1


def test_one_that_would_be_served_is_not_noted(context: ServerContext) -> None:
    for smtp in (True, False):
        assert ended(served(context, TlsVersion.TLS1_2, smtp=smtp)).noted(WouldBeRefused) == []


def test_how_much_of_the_address_is_noted_is_an_option(context: ServerContext) -> None:
    world = ended(served(context, TlsVersion.TLS1_0, tls_protocols_report_prefix_ipv4=32))
    assert world.note(WouldBeRefused).network == "192.0.2.7/32"


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        (b"x" * 5000, "x" * session_module.MAX_HELO),
        (b"b\xc3\xbccher.example", "bücher.example"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (None, None),
    ],
)
def test_any_name_can_be_noted(context: ServerContext, name: bytes | None, noted: str | None) -> None:
    assert ended(served(context, TlsVersion.TLS1_0, name=name)).note(WouldBeRefused).helo == noted


def test_a_session_that_never_came_to_tls_is_none_of_the_report_s(context: ServerContext) -> None:
    world = World(context=context, tls_protocols_report=CANDIDATE).open()
    assert ended(world).noted(WouldBeRefused) == []


def test_an_empty_candidate_is_none(context: ServerContext) -> None:
    world = ended(served(context, TlsVersion.TLS1_0, tls_protocols_report=TlsProtocols.parse("")))
    assert world.note(TlsEstablished).candidate is None
    assert world.noted(WouldBeRefused) == []
