"""Renegotiation and KeyUpdate through the running proxy, tried by clients that nobody here wrote."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.support.attacker import NO_RENEGOTIATION, Attacker
from tests.support.certificates import Authority
from tests.support.processes import Program
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

OLD_VERSIONS = ["TLSv1", "TLSv1.1", "TLSv1.2"]
FLAGS = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
LISTENS = ["close", "warn", "allow"]

CONFIG = """
    tls_certificate = ["{rsa.chain_path}", "{ecdsa.chain_path}"]
    tls_key = ["{rsa.key_path}", "{ecdsa.key_path}"]
    tls_protocols = ">=TLSv1"
    tls_ciphers = "DEFAULT"
    tls_key_update_limit = 8
    [backend.echo]
    servers = ["{backend}"]
    [[stream_listener]]
    backend = "echo"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      tls_renegotiation_action = "warn"
      tls_renegotiation_limit = 2
      [[stream_listener.listen]]
      address = "127.0.0.1:0"
      tls_allow_renegotiation = true
      tls_renegotiation_limit = 2
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("renegotiation")
    authority = Authority(directory)
    rsa, ecdsa = (authority.issue("localhost", key_type=key_type) for key_type in ("rsa", "ecdsa"))
    with Server(echo) as backend:
        toml = CONFIG.format(rsa=rsa, ecdsa=ecdsa, backend=backend.address)
        with Proxy.start(directory, toml) as running:
            running.wait_until(lambda: len(running.ports()) == len(LISTENS), "not every listen is open")
            yield running


def port(proxy: Proxy, listen: str) -> int:
    return proxy.ports()[LISTENS.index(listen)]


class SClient(Program):
    """``openssl s_client``, typed into: R renegotiates, K and k update keys."""

    def __init__(self, port: int, version: str) -> None:
        openssl = require("openssl", package="openssl")
        cipher = [] if version == "TLSv1.3" else ["-cipher", "DEFAULT@SECLEVEL=0"]
        super().__init__([openssl, "s_client", "-connect", f"127.0.0.1:{port}", FLAGS[version], *cipher])
        self.wait_for_output(r"^---\n(?!.*---)|read R BLOCK|Verify return code.*\n(.*\n)*---")
        self._said = 0

    def says_back(self, text: str) -> None:
        """A line typed comes back from the backend."""
        self.send(f"{text}\n".encode())
        self.wait_for_output(f"^{text}$")


def attempts(proxy: Proxy, after: int) -> list[tuple[int, str]]:
    notes = proxy.notes[after:]
    return [
        (note["attempt"], note["outcome"]) for note in notes if note["event"] == "renegotiation_attempted"
    ]


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_the_first_attempt_of_s_client_ends_the_connection(proxy: Proxy, version: str) -> None:
    seen = len(proxy.notes)
    with SClient(port(proxy, "close"), version) as client:
        client.says_back("before")
        client.send(b"R\n")
        client.wait_for_output("no renegotiation")
        client.wait()
    note = proxy.wait_for_note("renegotiation_attempted", after=seen)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", note["client"])
    assert (note["attempt"], note["outcome"], note["leg"]) == (1, "closed", "client")
    ended = proxy.wait_for_note("session_ended", after=seen)
    assert (ended["reason"], ended["version"], ended["renegotiations"]) == (
        "renegotiation_refused",
        version,
        1,
    )
    assert ended["client"] == note["client"]


def test_gnutls_rehandshake_ends_the_connection(proxy: Proxy) -> None:
    gnutls = require("gnutls-cli", package="gnutls-bin")
    seen = len(proxy.notes)
    with Program(
        [
            gnutls,
            "--insecure",
            "--rehandshake",
            "--priority",
            "NORMAL:-VERS-TLS1.3",
            "--port",
            str(port(proxy, "close")),
            "127.0.0.1",
        ]
    ) as client:
        client.wait_for_output("ReHandshake has failed", timeout=20)
        client.wait(20)
    assert proxy.wait_for_note("session_ended", after=seen)["reason"] == "renegotiation_refused"
    assert attempts(proxy, seen) == [(1, "closed")]


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_warn_keeps_the_connection_for_attempts_within_the_limit(proxy: Proxy, version: str) -> None:
    seen = len(proxy.notes)
    with Attacker(port(proxy, "warn"), version) as client:
        client.renegotiation_burst(1)
        proxy.wait_for_note("renegotiation_attempted", after=seen, attempt=1, outcome="warned")
        client.renegotiation_burst(1)
        proxy.wait_for_note("renegotiation_attempted", after=seen, attempt=2, outcome="warned")
        client.renegotiation_burst(1)
        client.read_to_end()
    assert proxy.wait_for_note("session_ended", after=seen)["reason"] == "renegotiation_refused"
    assert attempts(proxy, seen) == [(1, "warned"), (2, "warned"), (3, "closed")]


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_allowed_renegotiation_completes_up_to_the_limit(proxy: Proxy, version: str) -> None:
    seen = len(proxy.notes)
    with SClient(port(proxy, "allow"), version) as client:
        for attempt in (1, 2):
            client.send(b"R\n")
            proxy.wait_for_note("renegotiation_attempted", after=seen, attempt=attempt, outcome="allowed")
            client.says_back(f"still here {attempt}")
        client.send(b"R\n")
        client.wait()
    assert proxy.wait_for_note("session_ended", after=seen)["reason"] == "renegotiation_refused"
    assert attempts(proxy, seen) == [(1, "allowed"), (2, "allowed"), (3, "closed")]


@pytest.mark.parametrize("listen", ["close", "allow"])
@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_of_500_attempts_at_once_none_completes(
    proxy: Proxy, version: str, listen: str, record_property: Callable[[str, object], None]
) -> None:
    """tlslite-ng never answers the server's flight, so that even allowed attempts can't complete."""
    seen = len(proxy.notes)
    with Attacker(port(proxy, listen), version) as client:
        client.renegotiation_burst(500)
        alerts, seconds = client.read_to_end()
    record_property("seconds_to_close", seconds)
    assert seconds < 0.1
    if listen == "close":
        assert alerts[0] == NO_RENEGOTIATION
    ended = proxy.wait_for_note("session_ended", after=seen)
    assert ended["reason"] in ("renegotiation_refused", "tls_protocol_error")
    assert ended["renegotiations"] <= 16, "a burst overshoots by one batch of records at most"
    assert not [outcome for _, outcome in attempts(proxy, seen)[3:] if outcome != "closed"]


def test_key_updates_within_the_limit_are_served(proxy: Proxy) -> None:
    seen = len(proxy.notes)
    with SClient(port(proxy, "close"), "TLSv1.3") as client:
        client.send(b"K\n")
        client.wait_for_output("KEYUPDATE")
        client.says_back("after the update")
        client.close_input()
        client.wait()
    ended = proxy.wait_for_note("session_ended", after=seen)
    assert (ended["reason"], ended["key_updates"]) == ("client_closed", 1)


def test_key_updates_beyond_the_limit_end_the_connection(
    proxy: Proxy, record_property: Callable[[str, object], None]
) -> None:
    seen = len(proxy.notes)
    with Attacker(port(proxy, "close"), "TLSv1.3") as client:
        client.key_update_burst(2000)
        _, seconds = client.read_to_end()
    record_property("seconds_to_close", seconds)
    assert seconds < 0.1
    note = proxy.wait_for_note("key_update_limit_hit", after=seen)
    assert (note["limit"], note["leg"]) == (8, "client")
    ended = proxy.wait_for_note("session_ended", after=seen)
    assert ended["reason"] == "key_update_limit"
    assert ended["key_updates"] <= 8 + 16, "a burst overshoots by one batch of records at most"


def test_tls_1_3_has_no_renegotiation(proxy: Proxy) -> None:
    """A ClientHello after the handshake is a protocol error there (RFC 8446 §4.1.2)."""
    seen = len(proxy.notes)
    with Attacker(port(proxy, "allow"), "TLSv1.3") as client:
        client.renegotiation_burst(1)
        client.read_to_end()
    assert proxy.wait_for_note("session_ended", after=seen)["reason"] == "tls_protocol_error"
    assert attempts(proxy, seen) == []
