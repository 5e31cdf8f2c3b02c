"""TLS to a backend: who is spoken to, and in what."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued, write_pem
from tests.tls.conftest import Serve, Server
from tests.tls.peers import Peer, exchange
from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.backend import Backend, BackendTls
from tlsproxy.config.backend import Server as BackendServer
from tlsproxy.config.settings import VerifyMode
from tlsproxy.errors import HandshakeFailed, OptionsError, RenegotiationRefused
from tlsproxy.policy.handshakes import Outcome
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.client import ClientContext, client_context
from tlsproxy.tls.engine import Engine

NAME = "mx.example.org"
INTERNAL_ERROR, EXPIRED, UNKNOWN_CA = 80, 45, 48
"""Alerts (RFC 8446 §6.2)."""

Client = Callable[..., ClientContext]


def backend(**options: Any) -> Backend:
    return Backend(
        name="x",
        servers=(BackendServer(address=TcpAddress(NAME, 25)),),
        tls=BackendTls.IMPLICIT,
        **options,
    )


@pytest.fixture
def client(authority: Authority) -> Client:
    def make(**options: Any) -> ClientContext:
        options.setdefault("tls_ca", str(authority.path))
        if "tls_protocols" in options:
            options["tls_protocols"] = TlsProtocols.parse(options["tls_protocols"])
        return client_context(backend(**options))

    return make


def serving(serve: Serve, issued: Issued, **options: Any) -> Server:
    return serve(tls_certificate=(str(issued.chain_path),), tls_key=(str(issued.key_path),), **options)


def handshake(engine: Engine, server: Server | Peer) -> Peer:
    peer = server if isinstance(server, Peer) else Peer(server.context.new_connection())
    engine.start_handshake()
    peer.feed(engine.bytes_to_send())
    exchange(engine, peer)
    return peer


def refused(engine: Engine, server: Server | Peer) -> tuple[str, list[int]]:
    """Why, and what alerts the server got."""
    peer = server if isinstance(server, Peer) else Peer(server.context.new_connection())
    with pytest.raises(HandshakeFailed) as caught:
        handshake(engine, peer)
    peer.feed(engine.bytes_to_send())
    assert not engine.established
    return str(caught.value), peer.alerts


both_versions = pytest.mark.parametrize("protocols", ["TLSv1.2", "TLSv1.3"])


class TestVerification:
    @both_versions
    @pytest.mark.parametrize("name", ["mx.example.org", "*.example.org"])
    def test_a_server_with_the_right_name_is_spoken_to(
        self, client: Client, serve: Serve, authority: Authority, protocols: str, name: str
    ) -> None:
        engine = client(tls_protocols=protocols).new_engine(NAME)
        peer = handshake(engine, serving(serve, authority.issue(name)))
        assert engine.established
        assert engine.receive(peer.encrypt(b"220 ready"), 0.0) == b"220 ready"
        assert peer.connection.get_servername() == NAME.encode()

    def test_an_address_is_verified_and_not_sent_by_sni(
        self, client: Client, serve: Serve, authority: Authority
    ) -> None:
        engine = client().new_engine("192.0.2.1")
        peer = handshake(engine, serving(serve, authority.issue("192.0.2.1")))
        assert engine.established
        assert peer.connection.get_servername() is None

    @both_versions
    @pytest.mark.parametrize(
        ("names", "why"),
        [
            (["other.example.org"], "it is for 'other.example.org', not for mx.example.org"),
            ([], "whether it is for mx.example.org can't be told: Certificate does not contain any"),
            (["*.org"], "whether it is for mx.example.org can't be told: Certificate's DNS-ID"),
        ],
    )
    def test_one_with_another_or_none_is_refused_with_an_alert(
        self,
        client: Client,
        serve: Serve,
        authority: Authority,
        protocols: str,
        names: list[str],
        why: str,
    ) -> None:
        engine = client(tls_protocols=protocols).new_engine(NAME)
        reason, alerts = refused(engine, serving(serve, authority.issue(*names, common_name=NAME)))
        assert reason.startswith(f"server certificate not verified: {why}")
        assert alerts == [INTERNAL_ERROR]

    @both_versions
    def test_one_that_has_expired_is_refused(
        self, client: Client, serve: Serve, authority: Authority, protocols: str
    ) -> None:
        now = datetime.now(UTC)
        issued = authority.issue(NAME, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
        engine = client(tls_protocols=protocols).new_engine(NAME)
        reason, alerts = refused(engine, serving(serve, issued))
        assert reason == "server certificate not verified: certificate has expired"
        assert alerts == [EXPIRED]

    @both_versions
    def test_one_of_an_authority_that_is_not_listed_is_refused(
        self, client: Client, serve: Serve, tmp_path: Path, protocols: str
    ) -> None:
        stranger = Authority(tmp_path, "stranger")
        engine = client(tls_protocols=protocols).new_engine(NAME)
        reason, alerts = refused(engine, serving(serve, stranger.issue(NAME)))
        assert reason == "server certificate not verified: its issuer is unknown"
        assert alerts == [UNKNOWN_CA]

    def test_one_for_clients_is_refused(self, client: Client, serve: Serve, authority: Authority) -> None:
        reason, _ = refused(client().new_engine(NAME), serving(serve, authority.issue(NAME, client=True)))
        assert "it isn't meant for this use" in reason

    def test_a_chain_leads_over_intermediate_authorities(
        self, client: Client, serve: Serve, authority: Authority, tmp_path: Path
    ) -> None:
        intermediate = Authority(tmp_path, "intermediate", parent=authority)
        engine = client().new_engine(NAME)
        handshake(engine, serving(serve, intermediate.issue(NAME)))
        assert engine.established

    def test_an_authority_without_its_root_can_be_trusted(
        self, client: Client, serve: Serve, authority: Authority, tmp_path: Path
    ) -> None:
        intermediate = Authority(tmp_path, "intermediate", parent=authority)
        engine = client(tls_ca=str(intermediate.path)).new_engine(NAME)
        handshake(engine, serving(serve, intermediate.issue(NAME)))
        assert engine.established

    def test_a_server_s_own_certificate_can_be_trusted(
        self, client: Client, serve: Serve, authority: Authority, tmp_path: Path
    ) -> None:
        issued = authority.issue(NAME)
        pinned = write_pem(tmp_path / "pinned.pem", issued.pem)
        engine = client(tls_ca=str(pinned)).new_engine(NAME)
        handshake(engine, serving(serve, issued))
        assert engine.established
        reason, _ = refused(
            client(tls_ca=str(pinned)).new_engine(NAME), serving(serve, authority.issue(NAME))
        )
        assert "not verified" in reason

    @pytest.mark.parametrize("name", [NAME, ""])
    def test_without_names_the_chain_is_verified_still(
        self, client: Client, serve: Serve, authority: Authority, tmp_path: Path, name: str
    ) -> None:
        context = client(tls_verify_name=False)
        engine = context.new_engine(name)
        peer = handshake(engine, serving(serve, authority.issue("other.example.org")))
        assert engine.established
        assert peer.connection.get_servername() == (name.encode() or None)
        stranger = Authority(tmp_path, "stranger")
        reason, _ = refused(context.new_engine(name), serving(serve, stranger.issue(NAME)))
        assert "its issuer is unknown" in reason

    def test_a_server_without_a_certificate_is_refused(self, client: Client) -> None:
        """Anonymous suites call no verify callback; they aren't offered, whatever the list says."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(TlsVersion.TLS1_2)
        context.set_cipher_list(b"aNULL:@SECLEVEL=0")
        connection = SSL.Connection(context)
        connection.set_accept_state()
        engine = client(tls_ciphers="ALL:aNULL:@SECLEVEL=0", tls_protocols="TLSv1.2").new_engine(NAME)
        refused(engine, Peer(connection))

    def test_a_renegotiation_does_not_change_who_it_is(
        self, client: Client, serve: Serve, authority: Authority
    ) -> None:
        right, wrong = (
            serving(serve, authority.issue(name), tls_allow_renegotiation=True, tls_protocols="TLSv1.2")
            for name in (NAME, "other.example.org")
        )
        engine = client(tls_allow_renegotiation=True, tls_protocols="TLSv1.2").new_engine(NAME)
        peer = handshake(engine, right)
        peer.connection.set_context(wrong.context.new_connection().get_context())
        engine.receive(peer.renegotiation(), 0.0)
        peer.feed(engine.bytes_to_send())
        with pytest.raises(HandshakeFailed, match=r"not for mx\.example\.org"):
            engine.receive(peer.output(), 0.0)


class TestPolicy:
    @pytest.mark.parametrize(("protocols", "spoken"), [(">=TLSv1.2", "TLSv1.3"), ("TLSv1.2", "TLSv1.2")])
    def test_versions_are_those_of_tls_protocols(
        self, client: Client, serve: Serve, authority: Authority, protocols: str, spoken: str
    ) -> None:
        engine = client(tls_protocols=protocols).new_engine(NAME)
        handshake(engine, serving(serve, authority.issue(NAME)))
        assert engine.facts is not None
        assert engine.facts.version == spoken

    def test_an_older_server_is_refused_and_one_reached_where_allowed(
        self, client: Client, serve: Serve, authority: Authority
    ) -> None:
        old = serving(serve, authority.issue(NAME), tls_protocols="TLSv1")
        reason, _ = refused(client().new_engine(NAME), old)
        assert reason.startswith("no TLS version in common") or "protocol version" in reason
        engine = client(tls_protocols=">=TLSv1").new_engine(NAME)
        handshake(engine, old)
        assert engine.facts is not None
        assert engine.facts.version == "TLSv1"

    def test_a_hello_request_ends_the_connection(
        self, client: Client, serve: Serve, authority: Authority
    ) -> None:
        attempts: list[tuple[int, Outcome]] = []
        engine = client(tls_protocols="TLSv1.2").new_engine(NAME, lambda *each: attempts.append(each))
        server = serving(serve, authority.issue(NAME), tls_allow_renegotiation=True)
        peer = handshake(engine, server)
        with pytest.raises(RenegotiationRefused):
            engine.receive(peer.renegotiation(), 0.0)
        assert attempts == [(1, Outcome.CLOSED)]

    def test_a_client_certificate_is_shown_to_servers_that_ask(
        self, client: Client, serve: Serve, authority: Authority
    ) -> None:
        shown = authority.issue("proxy.example.org", client=True)
        options: dict[str, Any] = {
            "tls_verify_mode": VerifyMode.REQUIRE,
            "tls_client_ca": str(authority.path),
        }
        server = serving(serve, authority.issue(NAME), **options)
        context = client(tls_certificate=str(shown.chain_path), tls_key=str(shown.key_path))
        assert context.certificate is not None
        engine, server_engine = context.new_engine(NAME), server.engine()
        engine.start_handshake()
        for _ in range(3):
            server_engine.receive(engine.bytes_to_send(), 0.0)
            engine.receive(server_engine.bytes_to_send(), 0.0)
        assert server_engine.facts is not None
        assert server_engine.facts.client_common_name == "proxy.example.org"


class TestFiles:
    def problems(self, **options: Any) -> list[tuple[str, str]]:
        with pytest.raises(OptionsError) as caught:
            client_context(backend(**options))
        return list(caught.value.problems)

    def test_every_problem_is_told_at_its_option(self, tmp_path: Path) -> None:
        missing = str(tmp_path / "missing.pem")
        problems = self.problems(tls_ca=missing, tls_certificate=missing, tls_ciphers="NO-SUCH")
        assert [option for option, _ in problems] == ["tls_ciphers", "tls_ca", "tls_certificate"]

    def test_authorities_are_needed(self) -> None:
        assert self.problems() == [
            ("tls_ca", "names no file: the authorities to verify servers against are needed")
        ]

    def test_a_file_without_a_certificate_is_told(self, tmp_path: Path) -> None:
        ((option, message),) = self.problems(tls_ca=str(write_pem(tmp_path / "ca.pem", b"nothing\n")))
        assert option == "tls_ca"
        assert message.startswith(f"{tmp_path}/ca.pem: has no PEM certificate in it")

    def test_what_may_not_be_as_meant_is_warned_of(self, client: Client, authority: Authority) -> None:
        now = datetime.now(UTC)
        shown = authority.issue("proxy.example.org", client=True, not_after=now + timedelta(days=3))
        context = client(
            tls_certificate=str(shown.chain_path), tls_key=str(shown.key_path), tls_ciphers="DEFAULT:NO-SUCH"
        )
        assert [option for option, _ in context.warnings] == ["tls_certificate", "tls_ciphers"]

    def test_plain_options_warn_of_nothing(self, client: Client) -> None:
        assert client().warnings == ()

    def test_debian_s_bundle_of_authorities_can_be_used(self, client: Client) -> None:
        bundle = Path("/etc/ssl/certs/ca-certificates.crt")
        if not bundle.exists():
            pytest.skip("no ca-certificates here")
        assert client(tls_ca=str(bundle)).warnings == ()
