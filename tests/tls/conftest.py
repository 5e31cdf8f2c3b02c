"""Certificates and contexts that the tests of TLS share."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued
from tests.tls.peers import Peer, client_context, exchange
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import KINDS, Kind
from tlsproxy.policy.handshakes import Outcome
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.contexts import ContextStore, ServerContext
from tlsproxy.tls.engine import Engine

STREAM = KINDS["stream"]


@pytest.fixture(scope="session")
def ecdsa(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", "*.example.org", stem="tls-ecdsa")


@pytest.fixture(scope="session")
def rsa(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", "*.example.org", key_type="rsa", stem="tls-rsa")


@pytest.fixture(scope="session")
def two_names(authority: Authority) -> dict[str, Any]:
    """Options that make a server of two certificates, for ``first.example`` and ``other.example``."""
    issued = [authority.issue(name, stem=f"tls-{name}") for name in ("first.example", "other.example")]
    return {
        "tls_certificate": tuple(str(each.chain_path) for each in issued),
        "tls_key": tuple(str(each.key_path) for each in issued),
    }


@pytest.fixture(scope="session")
def store() -> ContextStore:
    return ContextStore()


@frozen
class Server:
    """Makes engines under one set of settings."""

    settings: Settings
    context: ServerContext
    attempts: list[tuple[int, Outcome]]
    """Renegotiations reported by its engines."""

    def engine(self) -> Engine:
        return Engine(
            self.context.new_connection(),
            protocols=self.settings.tls_protocols,
            policy=self.settings.handshake_policy,
            on_renegotiation=lambda attempt, outcome: self.attempts.append((attempt, outcome)),
        )

    def connect(self, client: Peer | SSL.Context | None = None) -> tuple[Engine, Peer]:
        """An established connection."""
        engine = self.engine()
        peer = client if isinstance(client, Peer) else Peer.client(client)
        exchange(engine, peer)
        assert engine.established
        assert peer.established
        return engine, peer

    def connect_at(self, version: TlsVersion) -> tuple[Engine, Peer]:
        return self.connect(client_context(version))


Serve = Callable[..., Server]


@pytest.fixture(scope="session")
def serve(store: ContextStore, rsa: Issued, ecdsa: Issued) -> Serve:
    """A server with any settings; all versions, RSA and ECDSA, where they say nothing."""

    def make(kind: Kind = STREAM, **options: Any) -> Server:
        options.setdefault("tls_protocols", ">=TLSv1")
        options["tls_protocols"] = TlsProtocols.parse(options["tls_protocols"])
        options.setdefault("tls_ciphers", "DEFAULT")
        options.setdefault("tls_certificate", (str(rsa.chain_path), str(ecdsa.chain_path)))
        options.setdefault("tls_key", (str(rsa.key_path), str(ecdsa.key_path)))
        settings = Settings(**options)
        return Server(settings, store.server_context(settings, kind), [])

    return make
