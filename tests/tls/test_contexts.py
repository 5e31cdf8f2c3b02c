"""tlsproxy.tls.contexts: one context for each policy, with all that is wrong told at once."""

import gc
import re
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.support.certificates import Authority, Issued
from tests.tls.conftest import STREAM
from tests.tls.peers import Peer, client_context, exchange
from tlsproxy.config.declaration import FileName
from tlsproxy.config.settings import Settings, VerifyMode
from tlsproxy.errors import OptionsError
from tlsproxy.policy.handshakes import HandshakePolicy
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.contexts import ContextStore
from tlsproxy.tls.engine import Engine


def names(*paths: object) -> tuple[FileName, ...]:
    return tuple(FileName(str(path)) for path in paths)


def settings_for(*certificates: Issued, **options: Any) -> Settings:
    if "tls_protocols" in options:
        options["tls_protocols"] = TlsProtocols.parse(options["tls_protocols"])
    return Settings(
        tls_certificate=names(*(each.chain_path for each in certificates)),
        tls_key=names(*(each.key_path for each in certificates)),
        **options,
    )


def problems(settings: Settings, store: ContextStore | None = None) -> dict[str, str]:
    with pytest.raises(OptionsError) as raised:
        (store or ContextStore()).server_context(settings, STREAM)
    return dict(raised.value.problems)


class TestSharing:
    def test_equal_policies_share_a_context(self, rsa: Issued) -> None:
        store = ContextStore()
        one = store.server_context(settings_for(rsa, tls_protocols=">=TLSv1.2"), STREAM)
        other = settings_for(
            rsa, tls_protocols="TLSv1.2 TLSv1.3", idle_timeout=17.0, tls_renegotiation_limit=9
        )
        assert store.server_context(other, STREAM) is one
        assert store.server_context(other, evolve(STREAM, name="another")) is one

    def test_the_store_tells_every_certificate_in_use_once(self, rsa: Issued, ecdsa: Issued) -> None:
        store = ContextStore()
        store.server_context(settings_for(rsa), STREAM)
        store.server_context(settings_for(rsa, ecdsa), STREAM)
        problems(Settings(tls_certificate=names("/nonexistent/missing.pem")), store)
        assert [each.path for each in store.certificates] == [str(rsa.chain_path), str(ecdsa.chain_path)]

    def test_a_context_knows_the_names_of_its_certificates(self, two_names: dict[str, Any]) -> None:
        context = ContextStore().server_context(Settings(**two_names), STREAM)
        names = {name for each in context.certificates for name in each.names}
        assert all(context.knows(name) for name in names)
        assert not context.knows("third.example")

    @pytest.mark.parametrize(
        "options",
        [
            {"tls_protocols": "TLSv1.2"},
            {"tls_ciphers": "DEFAULT"},
            {"tls_ciphersuites": "TLS_AES_128_GCM_SHA256"},
            {"tls_allow_renegotiation": True},
            {"tls_alpn_protocols": ("http/1.1",)},
        ],
    )
    def test_whatever_makes_a_difference_makes_another(self, rsa: Issued, options: dict[str, Any]) -> None:
        store = ContextStore()
        assert store.server_context(settings_for(rsa, **options), STREAM) is not store.server_context(
            settings_for(rsa), STREAM
        )

    def test_kinds_with_alpn_have_their_own(self, rsa: Issued) -> None:
        store, http = ContextStore(), evolve(STREAM, name="http", alpn_protocols=("http/1.1",))
        assert store.server_context(settings_for(rsa), STREAM) is not store.server_context(
            settings_for(rsa), http
        )

    def test_an_authority_that_isnt_asked_for_makes_no_difference(self, rsa: Issued) -> None:
        store = ContextStore()
        with_ca = settings_for(rsa, tls_client_ca="/no/such/file")
        assert store.server_context(with_ca, STREAM) is store.server_context(settings_for(rsa), STREAM)

    def test_a_certificate_is_read_once_for_all(self, authority: Authority) -> None:
        store, issued = ContextStore(), authority.issue("a.example")
        store.server_context(settings_for(issued), STREAM)
        issued.key_path.unlink()
        issued.chain_path.unlink()
        assert store.server_context(settings_for(issued, tls_ciphers="DEFAULT"), STREAM)

    def test_a_store_of_its_own_reads_again(self, authority: Authority) -> None:
        issued = authority.issue("a.example")
        ContextStore().server_context(settings_for(issued), STREAM)
        issued.key_path.unlink()
        assert set(problems(settings_for(issued))) == {"tls_key"}


class TestProblems:
    def test_all_are_told_at_once(self, rsa: Issued) -> None:
        found = problems(
            settings_for(
                rsa,
                tls_ciphers="NONSENSE",
                tls_ciphersuites="TLS_NONSENSE",
                tls_verify_mode=VerifyMode.REQUIRE,
                tls_alpn_protocols=("http/1.1", "ä", "", "x" * 256),
            )
        )
        assert set(found) == {"tls_ciphers", "tls_ciphersuites", "tls_verify_mode", "tls_alpn_protocols"}
        assert '"require" needs tls_client_ca' in found["tls_verify_mode"]

    def test_files_that_cant_be_used(self, tmp_path: Path) -> None:
        settings = Settings(
            tls_certificate=names(tmp_path / "a.pem", tmp_path / "b.pem"),
            tls_key=names(tmp_path / "a.key", tmp_path / "b.key"),
            tls_verify_mode=VerifyMode.OPTIONAL,
            tls_client_ca=FileName(f"{tmp_path}/ca.pem"),
        )
        with pytest.raises(OptionsError) as raised:
            ContextStore().server_context(settings, STREAM)
        told = [(option, message.partition(":")[0]) for option, message in raised.value.problems]
        assert told == [
            ("tls_certificate", f"{tmp_path}/a.pem"),
            ("tls_key", f"{tmp_path}/a.key"),
            ("tls_certificate", f"{tmp_path}/b.pem"),
            ("tls_key", f"{tmp_path}/b.key"),
            ("tls_client_ca", f"{tmp_path}/ca.pem"),
        ]

    def test_a_file_that_cant_be_used_is_told_wherever_it_is_named(self, tmp_path: Path) -> None:
        store = ContextStore()
        settings = Settings(tls_certificate=names(tmp_path / "a.pem"))
        assert set(problems(settings, store)) == {"tls_certificate"}
        assert set(problems(evolve(settings, tls_ciphers="DEFAULT"), store)) == {"tls_certificate"}

    def test_no_certificate(self) -> None:
        assert "names no file" in problems(Settings())["tls_certificate"]

    def test_a_key_too_few(self, rsa: Issued, ecdsa: Issued) -> None:
        settings = evolve(settings_for(rsa, ecdsa), tls_key=names(rsa.key_path))
        assert "names 1 files, tls_certificate 2" in problems(settings)["tls_key"]

    def test_a_version_without_a_single_suite(self, rsa: Issued) -> None:
        found = problems(settings_for(rsa, tls_protocols="<=TLSv1.1"))
        assert found["tls_ciphers"].startswith(
            "has no suite for TLSv1.1, the highest version that tls_protocols allows"
        )

    def test_the_highest_version_without_a_suite(self, rsa: Issued) -> None:
        """OpenSSL refuses clients of the other versions too, then."""
        found = problems(settings_for(rsa, tls_ciphersuites=""))
        assert found == {
            "tls_ciphersuites": "has no suite for TLSv1.3, the highest version that tls_protocols allows: the TLS library "
            "then refuses every client"
        }

    def test_a_version_that_the_library_speaks_against_orders(
        self, rsa: Issued, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tlsproxy.tls.building._OP_NO", dict.fromkeys(TlsVersion, 0))
        found = problems(settings_for(rsa, tls_protocols="TLSv1 TLSv1.3", tls_ciphers="DEFAULT"))
        assert found["tls_protocols"] == "the TLS library accepts TLSv1.1, TLSv1.2 nevertheless"


class TestWarnings:
    def test_a_good_configuration_has_none(self, rsa: Issued, ecdsa: Issued) -> None:
        context = ContextStore().server_context(settings_for(rsa, ecdsa), STREAM)
        assert context.warnings == ()
        assert [each.key_type for each in context.certificates] == ["RSA", "ECDSA"]

    def test_the_default_list_has_no_suite_for_old_versions(self, rsa: Issued) -> None:
        context = ContextStore().server_context(settings_for(rsa, tls_protocols=">=TLSv1"), STREAM)
        [(option, message)] = context.warnings
        assert option == "tls_ciphers"
        assert "with TLSv1, TLSv1.1, which tls_protocols allows" in message

    def test_files_and_lists(self, authority: Authority, rsa: Issued) -> None:
        later = datetime.now(UTC) + timedelta(days=1000)
        settings = settings_for(
            rsa,
            tls_ciphers="DEFAULT:TYPO",
            tls_verify_mode=VerifyMode.OPTIONAL,
            tls_client_ca=str(authority.path),
        )
        options = [option for option, _ in ContextStore(later).server_context(settings, STREAM).warnings]
        assert options == ["tls_certificate", "tls_client_ca", "tls_ciphers"]

    def test_a_certificate_that_is_never_served(self, authority: Authority) -> None:
        first, second = authority.issue("a.example"), authority.issue("a.example")
        [(option, message)] = ContextStore().server_context(settings_for(first, second), STREAM).warnings
        assert option == "tls_certificate"
        assert (
            message == f"{second.chain_path}: never served, since ECDSA certificates before it have its names"
        )


class TestRelease:
    def test_what_served_other_names_goes_at_once_and_not_when_garbage_is_collected(
        self, two_names: dict[str, Any]
    ) -> None:
        store = ContextStore()
        served = store.server_context(Settings(**two_names), STREAM)
        others = [
            weakref.ref(context)
            for context in served._contexts.by_name.values()
            if context is not served._contexts.default
        ]
        assert others
        gc.disable()
        try:
            store.release()
            assert [each() for each in others] == [None] * len(others)
        finally:
            gc.enable()

    def test_certificates_are_still_told(self, two_names: dict[str, Any]) -> None:
        store = ContextStore()
        certificates = store.server_context(Settings(**two_names), STREAM).certificates
        store.release()
        assert store.certificates == certificates


class TestConnections:
    def test_a_context_cant_be_changed_once_it_was_used(self, rsa: Issued) -> None:
        """pyOpenSSL's rule; a reload makes a store of its own for it."""
        connection = ContextStore().server_context(settings_for(rsa), STREAM).new_connection()
        with pytest.raises(ValueError, match="cannot be mutated"):
            connection.get_context().set_options(0)

    def test_connections_outlive_their_store(self, two_names: dict[str, Any]) -> None:
        settings = Settings(
            tls_protocols=TlsProtocols.parse(">=TLSv1.2"), tls_allow_renegotiation=True, **two_names
        )
        connection = ContextStore().server_context(settings, STREAM).new_connection()
        engine = Engine(connection, protocols=settings.tls_protocols, policy=settings.handshake_policy)
        peer = Peer.client(client_context(TlsVersion.TLS1_2), server_name=b"other.example")
        exchange(engine, peer)
        gc.collect()
        # The new ClientHello asks the callback of the context that the connection began in.
        engine.receive(peer.renegotiation(), 0.0)
        peer.feed(engine.bytes_to_send())
        exchange(engine, peer)
        assert engine.receive(peer.encrypt(b"x"), 0.0) == b"x"

    def test_an_idle_connection_is_small(self, rsa: Issued) -> None:
        context = ContextStore().server_context(settings_for(rsa), STREAM)
        connections = []
        client = client_context(TlsVersion.TLS1_3)

        def resident() -> int:
            gc.collect()
            return int(re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])

        def establish(count: int) -> None:
            for _ in range(count):
                engine = Engine(
                    context.new_connection(), protocols=TlsProtocols.parse(""), policy=HandshakePolicy()
                )
                peer = Peer.client(client)
                exchange(engine, peer)
                assert engine.receive(peer.encrypt(b"x" * 16384), 0.0)
                connections.append(engine)

        establish(50)
        before = resident()
        establish(200)
        assert (resident() - before) / 200 < 60, "KiB for each"
