"""The name that a client gives, in :mod:`tlsproxy.fronts.esmtp`."""

import pytest

from tests.fronts.conftest import OPENED, TLS, front
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.esmtp import EsmtpFront
from tlsproxy.fronts.events import BackendConnected, BackendDataReceived, ClientDataReceived, TlsStarted
from tlsproxy.fronts.options import TlsSecurityLevel


def said(*lines: bytes, level: TlsSecurityLevel = TlsSecurityLevel.ENCRYPT) -> EsmtpFront:
    machine = front(tls_security_level=level)
    machine.handle(OPENED)
    for line in lines:
        machine.handle(ClientDataReceived(line + b"\r\n"))
    return machine


def test_there_is_none_before_it_was_given() -> None:
    assert said().client_name is None
    assert said(b"NOOP").client_name is None


@pytest.mark.parametrize("verb", [b"EHLO", b"HELO", b"ehlo"])
def test_it_is_what_ehlo_or_helo_says(verb: bytes) -> None:
    assert said(verb + b" scanner.example").client_name == b"scanner.example"


def test_the_last_one_counts() -> None:
    assert said(b"EHLO first", b"EHLO second").client_name == b"second"


def test_one_without_a_name_gives_none() -> None:
    assert said(b"EHLO").client_name is None


def test_the_one_before_starttls_is_known_until_there_is_another() -> None:
    machine = said(b"EHLO before", b"STARTTLS")
    machine.handle(TlsStarted(TLS))
    machine.handle(BackendConnected())
    machine.handle(BackendDataReceived(b"220 old.example ESMTP\r\n"))
    assert machine.client_name == b"before"
    machine.handle(ClientDataReceived(b"EHLO after\r\n"))
    assert machine.client_name == b"after"


@pytest.mark.parametrize("kind", ["http", "stream"])
def test_other_protocols_have_none(kind: str) -> None:
    assert KINDS[kind].front.client_name is None  # type: ignore[attr-defined]  # of the class, which the registry calls
