"""A configuration file made ready for service."""

from pathlib import Path

import pytest

from tests.support.certificates import Authority, Issued
from tlsproxy.errors import ConfigurationError
from tlsproxy.fronts import KINDS
from tlsproxy.service.prepare import Prepared, prepare

LISTENER = """
[backend.injector]
servers = ["127.0.0.1:2525"]
[[stream_listener]]
backend = "injector"
  [[stream_listener.listen]]
  address = "127.0.0.1:1825"
"""

PEER = """
    [[stream_listener.listen.peer]]
    network = "10.3.0.0/16"
"""

LISTEN_PATH = "stream_listener[0].listen[0]"


@pytest.fixture(scope="module")
def server(authority: Authority) -> Issued:
    return authority.issue("mx.example.org", stem="prepare")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "tlsproxy.toml"


def certificate_of(issued: Issued) -> str:
    return f'tls_certificate = "{issued.chain_path}"\ntls_key = "{issued.key_path}"\n'


def prepared(config: Path, text: str) -> Prepared:
    config.write_text(text)
    return prepare(config)


def problems(config: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        prepared(config, text)
    return [str(problem) for problem in caught.value.problems]


def test_each_listen_has_all_that_serving_it_needs(config: Path, server: Issued) -> None:
    second = '[[stream_listener.listen]]\naddress = "127.0.0.1:1826"\n'
    ready = prepared(config, certificate_of(server) + LISTENER + second)
    assert ready.warnings == ()
    assert [str(each.listen.address) for each in ready.listens] == ["127.0.0.1:1825", "127.0.0.1:1826"]
    for each in ready.listens:
        assert each.listener is ready.configuration.listeners[0]
        assert each.kind is KINDS["stream"]
        assert each.backend is ready.configuration.backends["injector"]
        settings = each.resolver.settings_for(None)
        assert ready.contexts.server_context(settings, each.kind).new_connection() is not None


def test_contexts_are_there_for_every_peer_before_it_comes(config: Path, server: Issued) -> None:
    peer = f'{PEER}tls_protocols = ">=TLSv1"\ntls_ciphers = "DEFAULT"\n'
    (listen,) = (ready := prepared(config, certificate_of(server) + LISTENER + peer)).listens
    server.chain_path.chmod(0o000)
    try:
        for resolution in listen.resolver.resolutions():
            assert ready.contexts.server_context(resolution.settings, listen.kind)
    finally:
        server.chain_path.chmod(0o644)


def test_what_is_wrong_with_a_file_is_told_where_it_is_named(config: Path, server: Issued) -> None:
    peer = f'{PEER}tls_certificate = "missing.pem"\n'
    (line,) = problems(config, certificate_of(server) + LISTENER + peer)
    assert line.startswith(f"{LISTEN_PATH}.peer[0].tls_certificate: ")
    assert str(config.parent / "missing.pem") in line


def test_what_several_scopes_share_is_told_once(config: Path, server: Issued) -> None:
    second = f'[[stream_listener.listen]]\naddress = "127.0.0.1:1826"\n{PEER}idle_timeout = 5\n'
    lines = problems(config, f'{certificate_of(server)}tls_ciphers = "NO-SUCH-CIPHER"\n{LISTENER}{second}')
    assert len(lines) == 1
    assert lines[0].startswith("tls_ciphers: ")


def test_the_file_its_rules_and_its_certificates_are_all_told_about(config: Path, server: Issued) -> None:
    text = f"""
        log_format = "jsn"
        {LISTENER}
        {certificate_of(server)}
        tls_verify_mode = "require"
        tls_ciphers = "NO-SUCH-CIPHER"
        [[stream_listener.listen]]
        address = "127.0.0.1:1826"
        tls_certificate = "missing.pem"
        [[stream_listener.listen]]
        address = "127.0.0.1:1827"
    """
    assert [line.split(": ")[0] for line in problems(config, text)] == [
        "log_format",
        f"{LISTEN_PATH}.tls_verify_mode",
        f"{LISTEN_PATH}.tls_ciphers",
        "stream_listener[0].listen[1].tls_certificate",
        "stream_listener[0].listen[2].tls_certificate",
    ]


@pytest.mark.parametrize(
    "slip", ['tls_certifcate = "x"', "tls_certificate = 5", 'pathway = "x"', 'tls_certificate = ["x", 1]']
)
def test_what_only_follows_from_a_slip_is_not_told(config: Path, slip: str) -> None:
    lines = problems(config, f"{LISTENER}{slip}\n{PEER}idle_timeout = 5\n")
    assert len(lines) == 1
    assert "no certificate" not in lines[0]


def test_a_slip_in_one_scope_leaves_the_others_checked(config: Path) -> None:
    second = '[[stream_listener.listen]]\naddress = "127.0.0.1:1826"\n'
    first, last = problems(config, f"{LISTENER}tls_certificate = 5\n{second}")
    assert first.startswith(f"{LISTEN_PATH}.tls_certificate: must be a string")
    assert last.startswith("stream_listener[0].listen[1].tls_certificate: no certificate")


def test_warnings_of_the_file_and_of_the_certificates_are_told_with_their_paths(
    config: Path, authority: Authority
) -> None:
    from datetime import UTC, datetime, timedelta

    soon = authority.issue("soon.example.org", not_after=datetime.now(UTC) + timedelta(days=3))
    spare = '[backend.spare]\nservers = "127.0.0.1:2526"\n'
    ready = prepared(config, f"{certificate_of(soon)}{spare}{LISTENER}{PEER}idle_timeout = 5\n")
    assert [warning.path for warning in ready.warnings] == ["backend.spare", "tls_certificate"]


def test_a_file_that_is_no_toml_is_told_so(config: Path) -> None:
    (line,) = problems(config, "a = b")
    assert line.startswith("line 1, column 5")


def test_the_client_s_own_address_needs_a_privilege(
    config: Path, server: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsproxy.service.prepare.why_unavailable", lambda: "it needs CAP_NET_ADMIN")
    text = certificate_of(server) + LISTENER
    transparent = text.replace('"127.0.0.1:2525"]', '"127.0.0.1:2525"]\nidentity = "transparent"')
    assert problems(config, transparent) == [
        'backend.injector.identity: "transparent" can\'t be had: it needs CAP_NET_ADMIN'
    ]
    assert prepared(config, text).warnings == ()


class TestTlsToBackends:
    """What the options of a backend come to, and what is wrong with the files they name."""

    def with_tls(self, server: Issued, options: str) -> str:
        text = certificate_of(server) + LISTENER
        servers = 'servers = ["127.0.0.1:2525"]'
        return text.replace(servers, f'{servers}\ntls = "implicit"\n{options}')

    def test_there_is_a_context_for_each_backend_that_has_it(
        self, config: Path, server: Issued, authority: Authority
    ) -> None:
        ready = prepared(config, self.with_tls(server, f'tls_ca = "{authority.path}"'))
        assert list(ready.client_contexts) == ["injector"]
        assert prepared(config, certificate_of(server) + LISTENER).client_contexts == {}

    def test_every_problem_is_told_where_it_is(self, config: Path, server: Issued) -> None:
        options = 'tls_ca = "missing.pem"\ntls_certificate = "missing.pem"\ntls_ciphers = "NO-SUCH"'
        assert [line.split(": ")[0] for line in problems(config, self.with_tls(server, options))] == [
            "backend.injector.tls_ciphers",
            "backend.injector.tls_ca",
            "backend.injector.tls_certificate",
        ]

    def test_what_only_follows_from_a_slip_is_not_told(self, config: Path, server: Issued) -> None:
        (line,) = problems(config, self.with_tls(server, 'tls_ca = "missing.pem"\ntls_verify_name = "no"'))
        assert line.startswith("backend.injector.tls_verify_name: must be true or false")
        (line,) = problems(config, self.with_tls(server, ""))
        assert line.startswith("backend.injector.tls_ca: is missing")

    def test_warnings_are_told_where_they_belong(
        self, config: Path, server: Issued, authority: Authority
    ) -> None:
        options = f'tls_ca = "{authority.path}"\ntls_verify_name = false\ntls_ciphers = "DEFAULT:NO-SUCH"'
        ready = prepared(config, self.with_tls(server, options))
        assert [warning.path for warning in ready.warnings] == [
            "backend.injector.tls_verify_name",
            "backend.injector.tls_ciphers",
        ]


def test_a_candidate_that_refuses_nobody_is_warned_of(config: Path, server: Issued) -> None:
    text = f'tls_protocols_report = ">=TLSv1.2"\n{certificate_of(server)}{LISTENER}'
    [warning] = prepared(config, text).warnings
    assert warning.path == "tls_protocols_report"
    assert prepared(config, f'tls_protocols = ">=TLSv1.1"\ntls_ciphers = "DEFAULT"\n{text}').warnings == ()


def test_a_report_that_has_no_place_to_be_kept_is_warned_of(config: Path, server: Issued) -> None:
    text = 'report_database = "{}report.db"\n' + certificate_of(server) + LISTENER
    assert prepared(config, text.format("")).warnings == ()
    [warning] = prepared(config, text.format("missing/")).warnings
    assert warning.path == "report_database"
    assert warning.message.startswith(f"{config.parent}/missing is no directory")
