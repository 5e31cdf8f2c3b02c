"""tlsproxy.tls.building: what contexts do, tried by clients."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from tests.support.certificates import Authority, Issued
from tests.tls.conftest import STREAM, Serve
from tests.tls.peers import Peer, client_context, exchange
from tests.tls.test_contexts import settings_for
from tlsproxy.config.settings import VerifyMode
from tlsproxy.errors import HandshakeFailed, OptionsError
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.building import ServerPolicy, build_context
from tlsproxy.tls.contexts import ContextStore
from tlsproxy.tls.engine import Engine

HTTP = evolve(STREAM, name="http", alpn_protocols=("http/1.1",))
PROTOCOL_VERSION, CERTIFICATE_REQUIRED, NO_APPLICATION_PROTOCOL = 70, 116, 120

versions = pytest.mark.parametrize("version", list(TlsVersion), ids=lambda version: version.label)


def served(peer: Peer) -> list[x509.Certificate]:
    """The chain that a client was shown."""
    chain = peer.connection.get_peer_cert_chain(as_cryptography=True)
    assert chain is not None
    return chain


def failure(engine: Engine, peer: Peer) -> str:
    """Why the handshake fails; the client hears of it."""
    with pytest.raises(HandshakeFailed) as raised:
        exchange(engine, peer)
    peer.feed(engine.bytes_to_send())
    return str(raised.value)


class TestVersions:
    @pytest.mark.parametrize(
        "text",
        [
            ">=TLSv1",
            ">=TLSv1.2",
            "<=TLSv1.1",
            "TLSv1.1",
            "TLSv1 TLSv1.2",
            "TLSv1.1 TLSv1.3",
            ">=TLSv1 !TLSv1.1 !TLSv1.2",
        ],
    )
    @pytest.mark.parametrize("server_name", [b"first.example", b"other.example"])
    def test_those_allowed_are_spoken_and_no_others_whatever_sni_chooses(
        self, serve: Serve, two_names: dict[str, Any], text: str, server_name: bytes
    ) -> None:
        server = serve(tls_protocols=text, **two_names)
        for version in TlsVersion:
            engine = server.engine()
            peer = Peer.client(client_context(version), server_name=server_name)
            if version in TlsProtocols.parse(text).versions:
                exchange(engine, peer)
                assert engine.facts is not None
                assert engine.facts.version == version.label
            else:
                assert "no TLS version in common" in failure(engine, peer)
                # Either end says so: to a client without TLS 1.3 a lower version is proposed, which it refuses itself.
                assert peer.alerts == [PROTOCOL_VERSION] or peer.reason == "unsupported protocol"

    def test_a_context_from_elsewhere_doesnt_bring_its_versions_along(
        self, serve: Serve, rsa: Issued
    ) -> None:
        """Why all the contexts that SNI chooses between share one policy: OpenSSL keeps to the first one's versions."""
        strict = SSL.Context(SSL.TLS_SERVER_METHOD)
        strict.set_min_proto_version(TlsVersion.TLS1_3)
        strict.use_certificate(rsa.certificate)
        strict.use_privatekey(rsa.private_key)
        loose = SSL.Context(SSL.TLS_SERVER_METHOD)
        loose.set_tlsext_servername_callback(lambda connection: connection.set_context(strict))
        loose.use_certificate(rsa.certificate)
        loose.use_privatekey(rsa.private_key)
        server, peer = (
            SSL.Connection(loose),
            Peer.client(client_context(TlsVersion.TLS1_2), server_name=b"x.example"),
        )
        server.set_accept_state()
        engine = Engine(server, protocols=TlsProtocols.parse(""), policy=serve().settings.handshake_policy)
        exchange(engine, peer)
        assert engine.facts is not None
        assert engine.facts.version == "TLSv1.2"

    def test_security_level_0_holds_for_the_one_context_alone(self, authority: Authority) -> None:
        weak = rsa_keys.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
        issued = authority.issue("weak.example", key=weak)
        store = ContextStore()
        assert store.server_context(
            settings_for(issued, tls_protocols=">=TLSv1", tls_ciphers="DEFAULT"), STREAM
        )
        with pytest.raises(
            OptionsError, match=r"tls_certificate: .* the TLS library refuses it: ee key too small"
        ):
            store.server_context(settings_for(issued, tls_protocols=">=TLSv1.2"), STREAM)

    @pytest.mark.parametrize(
        ("text", "chosen"), [(">=TLSv1.2", "AES256-GCM-SHA384"), (">=TLSv1", "ECDHE-RSA-AES128-GCM-SHA256")]
    )
    def test_the_server_prefers_for_old_clients_alone(
        self, serve: Serve, rsa: Issued, text: str, chosen: str
    ) -> None:
        server = serve(
            tls_protocols=text,
            tls_ciphers="ECDHE-RSA-AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA",
            tls_certificate=(str(rsa.chain_path),),
            tls_key=(str(rsa.key_path),),
        )
        ciphers = "AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
        engine, _ = server.connect(client_context(TlsVersion.TLS1_2, ciphers=ciphers))
        assert engine.facts is not None
        assert engine.facts.cipher == chosen

    @pytest.mark.parametrize("version", list(TlsVersion)[:3], ids=lambda version: version.label)
    def test_dhe_works(self, serve: Serve, version: TlsVersion) -> None:
        engine, _ = serve().connect(client_context(version, ciphers="DHE:@SECLEVEL=0"))
        assert engine.facts is not None
        assert engine.facts.cipher.startswith("DHE-RSA-")


def test_lists_of_suites_are_checked_here_too(rsa: Issued) -> None:
    policy = ServerPolicy.of(settings_for(rsa, tls_ciphers="NONSENSE"), STREAM)
    with pytest.raises(OptionsError, match="tls_ciphers: 'NONSENSE'"):
        build_context(policy, [], None)


class TestCertificates:
    @pytest.fixture
    def chains(self, authority: Authority, tmp_path: Path) -> dict[str, tuple[Authority, Issued]]:
        """An RSA and an ECDSA certificate for one name, each from an intermediate authority of its own."""
        made = {}
        for key_type in ("RSA", "ECDSA"):
            middle = Authority(tmp_path, f"{key_type}-middle", parent=authority)
            issued = middle.issue(
                "mx.example.org", key_type="rsa" if key_type == "RSA" else "ecdsa", stem=key_type
            )
            made[key_type] = (middle, issued)
        return made

    @pytest.mark.parametrize("version", [TlsVersion.TLS1_0, TlsVersion.TLS1_2])
    @pytest.mark.parametrize("key_type", ["RSA", "ECDSA"])
    def test_rsa_and_ecdsa_are_served_side_by_side_each_with_its_own_chain(
        self, serve: Serve, chains: dict[str, tuple[Authority, Issued]], version: TlsVersion, key_type: str
    ) -> None:
        server = serve(
            tls_certificate=tuple(str(issued.chain_path) for _, issued in chains.values()),
            tls_key=tuple(str(issued.key_path) for _, issued in chains.values()),
        )
        assert server.context.warnings == ()
        _, peer = server.connect(client_context(version, ciphers=f"a{key_type}:@SECLEVEL=0"))
        middle, issued = chains[key_type]
        assert served(peer) == [issued.certificate, middle.certificate]

    def test_what_is_served_is_what_was_checked(
        self, serve: Serve, authority: Authority, tmp_path: Path
    ) -> None:
        issued = Authority(tmp_path, "middle", parent=authority).issue("a.example")
        server = serve(tls_certificate=(str(issued.chain_path),), tls_key=(str(issued.key_path),))
        issued.chain_path.write_bytes(b"gone")
        issued.key_path.unlink()
        _, peer = server.connect()
        assert served(peer)[0] == issued.certificate

    @pytest.mark.parametrize(
        ("server_name", "expected"),
        [
            (None, "first.example"),
            (b"first.example", "first.example"),
            (b"OTHER.example", "other.example"),
            (b"other.example.", "other.example"),
            (b"unknown.example", "first.example"),
            (b"a" * 255, "first.example"),
            (b"\xff\xfe\xfd", "first.example"),
        ],
    )
    @versions
    def test_sni_chooses(
        self,
        serve: Serve,
        two_names: dict[str, Any],
        version: TlsVersion,
        server_name: bytes | None,
        expected: str,
    ) -> None:
        engine, peer = serve(**two_names).connect(
            Peer.client(client_context(version), server_name=server_name)
        )
        assert served(peer)[0].subject.rfc4514_string() == f"CN={expected}"
        assert engine.receive(peer.encrypt(b"x"), 0.0) == b"x"

    def test_a_wildcard_is_one_label(self, serve: Serve, authority: Authority) -> None:
        first, wild = authority.issue("first.example"), authority.issue("*.example.org")
        server = serve(
            tls_certificate=(str(first.chain_path), str(wild.chain_path)),
            tls_key=(str(first.key_path), str(wild.key_path)),
        )
        for name, issued in (
            (b"mx.example.org", wild),
            (b"a.mx.example.org", first),
            (b"example.org", first),
        ):
            _, peer = server.connect(Peer.client(server_name=name))
            assert served(peer)[0] == issued.certificate

    @pytest.mark.parametrize("name", [b"a\x00b.example", b"x" * 256])
    @versions
    def test_a_name_that_openssl_itself_refuses_fails_the_handshake_and_no_more(
        self, serve: Serve, two_names: dict[str, Any], version: TlsVersion, name: bytes
    ) -> None:
        marker = b"m" * 100
        peer = Peer.client(client_context(version), server_name=marker)
        peer.step()
        hello = peer.output()
        listed = b"\x00" + len(name).to_bytes(2) + name
        content = len(listed).to_bytes(2) + listed
        old = b"\x00\x00" + (105).to_bytes(2) + (103).to_bytes(2) + b"\x00" + (100).to_bytes(2) + marker
        new = b"\x00\x00" + len(content).to_bytes(2) + content
        engine = serve(**two_names).engine()
        with pytest.raises(HandshakeFailed):
            engine.receive(replaced(hello, old, new), 0.0)
        assert engine.bytes_to_send()[0] == 21


def replaced(hello: bytes, old: bytes, new: bytes) -> bytes:
    """A ClientHello in one record, with one extension in another's place and the lengths set right."""
    assert hello.count(old) == 1
    body = hello[9:].replace(old, new)
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2])
    at += 1 + body[at]
    body = body[:at] + (len(body) - at - 2).to_bytes(2) + body[at + 2 :]
    message = hello[5:6] + len(body).to_bytes(3) + body
    return hello[:3] + len(message).to_bytes(2) + message


@given(name=st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name))
def test_no_server_name_makes_the_callback_fail(serve: Serve, two_names: dict[str, Any], name: bytes) -> None:
    engine, _ = serve(**two_names).connect(Peer.client(client_context(TlsVersion.TLS1_3), server_name=name))
    assert engine.established


class TestAlpn:
    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [((), None), ((b"http/1.1",), "http/1.1"), ((b"h2", b"http/1.1"), "http/1.1")],
    )
    @versions
    def test_the_kinds_own_protocols(
        self, serve: Serve, version: TlsVersion, offered: tuple[bytes, ...], chosen: str | None
    ) -> None:
        engine, peer = serve(HTTP).connect(Peer.client(client_context(version), alpn=offered))
        assert engine.facts is not None
        assert engine.facts.alpn == chosen
        assert peer.connection.get_alpn_proto_negotiated().decode() == (chosen or "")

    def test_the_options_protocols_in_their_order(self, serve: Serve) -> None:
        server = serve(HTTP, tls_alpn_protocols=("b", "a"))
        engine, _ = server.connect(Peer.client(alpn=(b"a", b"b", b"http/1.1")))
        assert engine.facts is not None
        assert engine.facts.alpn == "b"

    @versions
    def test_none_in_common_is_refused_with_the_right_alert(self, serve: Serve, version: TlsVersion) -> None:
        engine = serve(HTTP).engine()
        peer = Peer.client(client_context(version), alpn=(b"h2", b"\xff"))
        message = failure(engine, peer)
        assert (
            message == "no application protocol in common (ALPN): offered are h2, \\xff, spoken here http/1.1"
        )
        assert peer.alerts == [NO_APPLICATION_PROTOCOL]

    def test_a_refusal_stays_with_its_own_connection(self, serve: Serve) -> None:
        """pyOpenSSL keeps exceptions of callbacks with the context, which connections share."""
        server = serve(HTTP)
        failure(server.engine(), Peer.client(alpn=(b"h2",)))
        server.connect(Peer.client(alpn=(b"http/1.1",)))

    def test_a_flood_of_protocols_makes_no_long_message(self, serve: Serve) -> None:
        message = failure(
            serve(HTTP).engine(), Peer.client(alpn=tuple(b"p%d" % number for number in range(1000)))
        )
        assert len(message) < 200
        assert "p7 …" in message

    @versions
    def test_where_none_are_spoken_alpn_is_ignored(self, serve: Serve, version: TlsVersion) -> None:
        engine, peer = serve().connect(Peer.client(client_context(version), alpn=(b"smtp",)))
        assert engine.facts is not None
        assert engine.facts.alpn is None
        assert peer.connection.get_alpn_proto_negotiated() == b""

    def test_it_holds_for_a_context_chosen_by_sni(self, serve: Serve, two_names: dict[str, Any]) -> None:
        server = serve(HTTP, **two_names)
        peer = Peer.client(server_name=b"other.example", alpn=(b"h2",))
        failure(server.engine(), peer)
        assert peer.alerts == [NO_APPLICATION_PROTOCOL]


ClientWith = Callable[..., Peer]


class TestClientCertificates:
    @pytest.fixture(params=list(TlsVersion), ids=lambda version: version.label)
    def client(self, request: pytest.FixtureRequest) -> ClientWith:
        def make(issued: Issued | None = None, server_name: bytes | None = None) -> Peer:
            context = client_context(request.param)
            if issued is not None:
                context.use_certificate_chain_file(str(issued.chain_path))
                context.use_privatekey(issued.private_key)
            return Peer.client(context, server_name=server_name)

        return make

    @pytest.fixture(params=[VerifyMode.OPTIONAL, VerifyMode.REQUIRE])
    def server(self, request: pytest.FixtureRequest, serve: Serve, authority: Authority) -> Any:
        return serve(tls_verify_mode=request.param, tls_client_ca=str(authority.path))

    def test_a_good_one_is_verified_and_told(
        self, server: Any, authority: Authority, client: ClientWith
    ) -> None:
        engine, _ = server.connect(client(authority.issue(common_name="printer 7", client=True)))
        assert engine.facts.client_verified
        assert engine.facts.client_subject == "CN=printer 7"
        assert engine.facts.client_common_name == "printer 7"

    def test_one_from_an_intermediate_is_verified_by_the_chain_shown(
        self, server: Any, authority: Authority, client: ClientWith, tmp_path: Path
    ) -> None:
        issued = Authority(tmp_path, "middle", parent=authority).issue(common_name="deep", client=True)
        assert server.connect(client(issued))[0].facts.client_verified

    def test_the_names_of_the_authorities_are_sent(
        self, server: Any, authority: Authority, client: ClientWith
    ) -> None:
        peer = client(authority.issue(client=True))
        server.connect(peer)
        assert peer.connection.get_client_ca_list(as_cryptography=True) == [authority.subject]

    @pytest.mark.parametrize(
        ("days", "message", "alert"),
        [
            (-1, "client certificate not verified: certificate has expired", 45),
            (+1, "client certificate not verified: certificate is not yet valid", 42),
        ],
    )
    def test_one_outside_its_validity_is_refused(
        self, server: Any, authority: Authority, client: ClientWith, days: int, message: str, alert: int
    ) -> None:
        at = datetime.now(UTC) + timedelta(days=days)
        span = timedelta(hours=1)
        peer = client(authority.issue(client=True, not_before=at - span, not_after=at + span))
        assert failure(server.engine(), peer) == message
        assert peer.alerts == [alert]

    def test_one_from_an_unknown_authority_is_refused(
        self, server: Any, client: ClientWith, tmp_path: Path
    ) -> None:
        peer = client(Authority(tmp_path, "unknown").issue(client=True))
        assert failure(server.engine(), peer) == "client certificate not verified: its issuer is unknown"
        assert peer.alerts == [48]  # unknown_ca

    def test_one_for_servers_is_refused(self, server: Any, authority: Authority, client: ClientWith) -> None:
        message = failure(server.engine(), client(authority.issue("a.example")))
        assert message == "client certificate not verified: it isn't meant for this use (extendedKeyUsage)"

    def test_an_expired_authority_in_its_chain_is_named_as_such(
        self, serve: Serve, authority: Authority, client: ClientWith, tmp_path: Path
    ) -> None:
        end = datetime.now(UTC) - timedelta(hours=1)
        root = Authority(tmp_path, "root")
        expired = root.issue(client=True, not_before=end - timedelta(days=1), not_after=end)
        server = serve(tls_verify_mode=VerifyMode.REQUIRE, tls_client_ca=str(root.path))
        assert "certificate has expired" in failure(server.engine(), client(expired))

    def test_none_is_enough_where_it_is_optional(
        self, serve: Serve, authority: Authority, client: ClientWith
    ) -> None:
        server = serve(tls_verify_mode=VerifyMode.OPTIONAL, tls_client_ca=str(authority.path))
        engine, _ = server.connect(client())
        assert engine.facts is not None
        assert engine.facts.client_subject is None
        assert not engine.facts.client_verified

    def test_none_is_refused_where_one_is_required(
        self, serve: Serve, authority: Authority, client: ClientWith
    ) -> None:
        server = serve(tls_verify_mode=VerifyMode.REQUIRE, tls_client_ca=str(authority.path))
        peer = client()
        assert failure(server.engine(), peer) == "a client certificate is required, and none was shown"
        tls13 = peer.connection.get_protocol_version() == TlsVersion.TLS1_3
        assert peer.alerts == [CERTIFICATE_REQUIRED if tls13 else 40]

    def test_it_isnt_asked_for_by_default(
        self, serve: Serve, authority: Authority, client: ClientWith
    ) -> None:
        engine, _ = serve(tls_client_ca=str(authority.path)).connect(client(authority.issue(client=True)))
        assert engine.facts is not None
        assert engine.facts.client_subject is None

    def test_it_holds_for_a_context_chosen_by_sni(
        self,
        serve: Serve,
        authority: Authority,
        client: ClientWith,
        two_names: dict[str, Any],
        tmp_path: Path,
    ) -> None:
        server = serve(tls_verify_mode=VerifyMode.REQUIRE, tls_client_ca=str(authority.path), **two_names)
        good = client(authority.issue(common_name="good", client=True), server_name=b"other.example")
        engine, _ = server.connect(good)
        assert engine.facts is not None
        assert engine.facts.client_verified
        bad = client(Authority(tmp_path, "unknown").issue(client=True), server_name=b"other.example")
        assert "not verified" in failure(server.engine(), bad)

    def test_what_the_operator_lists_is_trusted_without_its_root(
        self, serve: Serve, authority: Authority, client: ClientWith, tmp_path: Path
    ) -> None:
        middle = Authority(tmp_path, "middle", parent=authority)
        server = serve(tls_verify_mode=VerifyMode.REQUIRE, tls_client_ca=str(middle.path))
        assert server.connect(client(middle.issue(client=True)))[0].facts.client_verified  # type: ignore[union-attr]
        assert "not verified" in failure(server.engine(), client(authority.issue(client=True)))

    def test_an_exception_while_verifying_refuses(
        self, server: Any, authority: Authority, client: ClientWith, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_arguments: object) -> None:
            raise KeyError

        monkeypatch.setattr("tlsproxy.tls.building.VerifyError", broken)
        engine, peer = server.engine(), client(authority.issue("a.example"))
        with pytest.raises(KeyError):
            exchange(engine, peer)
        assert not engine.established
        assert engine.receive(b"\x17\x03\x03\x00\x01x", 0.0) == b""
        peer.feed(engine.bytes_to_send())
        assert not peer.received

    def test_a_resumed_session_is_still_the_verified_client(
        self, server: Any, authority: Authority, client: ClientWith
    ) -> None:
        peer = client(authority.issue(common_name="printer", client=True))
        server.connect(peer)
        session = peer.connection.get_session()
        engine, _ = server.connect(Peer.client(peer.connection.get_context(), session=session))
        assert engine.facts.resumed
        assert engine.facts.client_verified
        assert engine.facts.client_subject == "CN=printer"


class TestSessions:
    @versions
    def test_facts_tell_the_name_that_the_client_sent_not_the_resumed_sessions(
        self, serve: Serve, two_names: dict[str, Any], version: TlsVersion
    ) -> None:
        """OpenSSL resumes under another name too; all names of a server are under one policy."""
        server, context = serve(**two_names), client_context(version)
        _, peer = server.connect(Peer.client(context, server_name=b"other.example"))
        session = peer.connection.get_session()
        for name in ("other.example", "first.example"):
            engine, _ = server.connect(Peer.client(context, server_name=name.encode(), session=session))
            assert engine.facts is not None
            assert engine.facts.resumed
            assert engine.facts.server_name == name
