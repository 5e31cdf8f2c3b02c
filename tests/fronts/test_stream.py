"""Tests for :mod:`tlsproxy.fronts.stream`."""

import pytest
from attrs import evolve

from tests.fronts.conftest import OPENED, TLS, front
from tests.support.playbook import Playbook
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.commands import (
    CloseSession,
    ConnectBackend,
    FinishBackend,
    SendToBackend,
    Splice,
    StartTls,
)
from tlsproxy.fronts.events import (
    BackendConnected,
    BackendLost,
    BackendUnavailable,
    ClientDataReceived,
    ClientFinished,
    ClientTooSlow,
    DrainRequested,
    Event,
    IdleTimedOut,
    TlsStarted,
)
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.fronts.stream import StreamFront


def connecting() -> Playbook:
    stream = KINDS["stream"].front(front()._options)
    assert isinstance(stream, StreamFront)
    playbook = Playbook(stream)
    playbook >> OPENED << StartTls()
    return playbook >> TlsStarted(TLS) << ConnectBackend()


def test_the_backend_is_connected_after_the_handshake_and_spliced() -> None:
    playbook = connecting()
    playbook >> BackendConnected() << Splice()
    playbook.end()


@pytest.mark.parametrize(
    ("identity", "begin"),
    [(IdentityMode.PROXY_V1, b"PROXY TCP4 "), (IdentityMode.PROXY_V2, b"\r\n\r\n\0\r\nQUIT\n")],
)
def test_a_proxy_header_comes_before_early_bytes(identity: IdentityMode, begin: bytes) -> None:
    stream = KINDS["stream"].front(evolve(front()._options, identity=identity))
    stream.handle(OPENED)
    stream.handle(TlsStarted(TLS))
    stream.handle(ClientDataReceived(b"a"))
    header, early, splice = stream.handle(BackendConnected())
    assert isinstance(header, SendToBackend)
    assert header.data.startswith(begin)
    assert (early, splice) == (SendToBackend(b"a"), Splice())


def test_early_bytes_and_the_end_reach_the_backend_first() -> None:
    playbook = connecting()
    playbook >> ClientDataReceived(b"a") >> ClientDataReceived(b"b") >> ClientFinished()
    (
        playbook
        >> BackendConnected()
        << SendToBackend(b"a")
        << SendToBackend(b"b")
        << FinishBackend()
        << Splice()
    )
    playbook.end()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (BackendUnavailable("refused"), "backend_unavailable"),
        (IdleTimedOut(), "idle_timeout"),
        (ClientTooSlow("min_data_rate"), "min_data_rate"),
    ],
)
def test_the_session_is_closed(event: Event, reason: str) -> None:
    playbook = connecting()
    playbook >> event << CloseSession(reason)
    playbook.end()


@pytest.mark.parametrize("event", [DrainRequested(), BackendLost("reset")])
def test_other_events_are_none_of_its_business(event: Event) -> None:
    playbook = connecting()
    playbook >> event
    playbook.end()
