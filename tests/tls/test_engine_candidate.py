"""tlsproxy.tls.engine: whether a candidate for ``tls_protocols`` would refuse a client, without a difference to it."""

import pytest
from OpenSSL import SSL

from tests.tls.conftest import Serve
from tests.tls.peers import Peer, bytewise, client_context, exchange, whole
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.engine import Engine


def established(
    serve: Serve, candidate: str | None, context: SSL.Context, *, piecemeal: bool = False
) -> Engine:
    server = serve()
    engine = Engine(
        server.context.new_connection(),
        protocols=server.settings.tls_protocols,
        policy=server.settings.handshake_policy,
        candidate=None if candidate is None else TlsProtocols.parse(candidate),
    )
    exchange(engine, Peer.client(context), split=bytewise if piecemeal else whole)
    assert engine.established
    return engine


@pytest.mark.parametrize("piecemeal", [False, True])
@pytest.mark.parametrize(
    ("version", "offer"),
    [
        (TlsVersion.TLS1_0, "<=TLSv1"),
        (TlsVersion.TLS1_1, "<=TLSv1.1"),
        (TlsVersion.TLS1_2, None),
        (TlsVersion.TLS1_3, None),
    ],
)
def test_a_client_that_has_nothing_better_would_be_refused(
    serve: Serve, version: TlsVersion, offer: str | None, piecemeal: bool
) -> None:
    engine = established(serve, ">=TLSv1.2", client_context(version), piecemeal=piecemeal)
    assert engine.refused_offer == offer
    assert engine.facts is not None
    assert engine.facts.version == version.label


@pytest.mark.parametrize("version", list(TlsVersion))
def test_without_a_candidate_nothing_is_looked_at(serve: Serve, version: TlsVersion) -> None:
    assert established(serve, None, client_context(version)).refused_offer is None


@pytest.mark.parametrize(
    ("candidate", "lowest", "offer"),
    [
        ("TLSv1.2", TlsVersion.TLS1_2, None),
        ("TLSv1.2", TlsVersion.TLS1_0, None),
        ("TLSv1.2", TlsVersion.TLS1_3, "TLSv1.3"),
        ("<=TLSv1.1", TlsVersion.TLS1_2, "TLSv1.2 TLSv1.3"),
        ("TLSv1", TlsVersion.TLS1_0, None),
    ],
)
def test_what_else_a_client_named_would_do(
    serve: Serve, candidate: str, lowest: TlsVersion, offer: str | None
) -> None:
    assert established(serve, candidate, client_context(lowest, TlsVersion.TLS1_3)).refused_offer == offer


def test_a_client_that_names_no_other_may_have_none(serve: Serve) -> None:
    context = client_context(TlsVersion.TLS1_0, TlsVersion.TLS1_2)
    assert established(serve, "<=TLSv1.1", context).refused_offer == "<=TLSv1.2"


def test_a_hello_that_can_t_be_read_leaves_the_version(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsproxy.tls.engine.parse_client_hello", lambda _: None)
    assert established(serve, ">=TLSv1.2", client_context(TlsVersion.TLS1_1)).refused_offer == "TLSv1.1"
