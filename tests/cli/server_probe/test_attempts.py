"""How a server takes renegotiation and KeyUpdate, however it does."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued
from tests.support.tls_server import (
    OP_ALLOW_CLIENT_RENEGOTIATION,
    Reaction,
    context_of,
    hang_up,
    ignore,
    serve_on,
    tls_server,
)
from tlsproxy.cli.server_probe import attempts
from tlsproxy.cli.server_probe.attempts import MAX_KEY_UPDATES, key_updates, renegotiation
from tlsproxy.cli.server_probe.findings import Verdict
from tlsproxy.cli.server_probe.link import Budget, Link, Target
from tlsproxy.config.addresses import TcpAddress
from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.tls.outside.visitor import Visitor

OLD, NEW = TlsVersion.TLS1_2, TlsVersion.TLS1_3


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("localhost", key_type="rsa")


@contextmanager
def visited(context: SSL.Context, reaction: Reaction, version: TlsVersion) -> Iterator[tuple[Link, Visitor]]:
    visitor = Visitor.create([version], for_key_updates=version is NEW)
    with tls_server(context, reaction) as server:
        port = int(server.address.rpartition(":")[2])
        with Link.open(Target(TcpAddress("127.0.0.1", port), "localhost", 5.0), Budget(1)) as link:
            link.start_tls(visitor)
            yield link, visitor


@pytest.mark.parametrize(
    ("options", "reaction", "outcome", "verdict"),
    [
        (OP_ALLOW_CLIENT_RENEGOTIATION, serve_on, "accepted", Verdict.BAD),
        (0, serve_on, "refused", Verdict.OK),
        (0, hang_up, "closed", Verdict.OK),
        (0, ignore, "ignored", Verdict.WARN),
    ],
)
def test_a_renegotiation(
    issued: Issued,
    monkeypatch: pytest.MonkeyPatch,
    options: int,
    reaction: Reaction,
    outcome: str,
    verdict: Verdict,
) -> None:
    if reaction is ignore:
        monkeypatch.setattr(attempts, "PATIENCE", 0.2)
    with visited(context_of(issued, [OLD], options=options), reaction, OLD) as (link, visitor):
        found = renegotiation(link, visitor)
    assert (found.facts["outcome"], found.verdict) == (outcome, verdict)


@pytest.mark.parametrize(
    ("reaction", "outcome", "verdict", "sent"),
    [
        (serve_on, "unlimited", Verdict.WARN, MAX_KEY_UPDATES),
        (hang_up, "closed", Verdict.OK, 10),
        (ignore, "ignored", Verdict.UNKNOWN, 10),
    ],
)
def test_key_updates(
    issued: Issued,
    monkeypatch: pytest.MonkeyPatch,
    reaction: Reaction,
    outcome: str,
    verdict: Verdict,
    sent: int,
) -> None:
    if reaction is ignore:
        monkeypatch.setattr(attempts, "PATIENCE", 0.2)
    with visited(context_of(issued, [NEW]), reaction, NEW) as (link, visitor):
        found = key_updates(link, visitor)
    assert (found.facts, found.verdict) == ({"outcome": outcome, "sent": sent}, verdict)
