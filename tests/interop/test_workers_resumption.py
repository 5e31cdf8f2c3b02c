"""TLS sessions of one worker resumed at another, by openssl s_client."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.processes import Program, free_port
from tests.support.programs import require
from tests.support.proxy import Proxy
from tests.support.servers import Server, echo

pytestmark = pytest.mark.interop

ATTEMPTS = 12
"""Connections made with one ticket. With two workers, all fall to the one that gave it in one case of 2,048."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Proxy]:
    issued = authority.issue("localhost")
    with Server(echo) as backend:
        toml = f"""
            workers = 2
            tls_certificate = "{issued.chain_path}"
            tls_key = "{issued.key_path}"
            [backend.echo]
            servers = ["{backend.address}"]
            [[stream_listener]]
            backend = "echo"
            [[stream_listener.listen]]
            address = "127.0.0.1:{free_port()}"
        """
        with Proxy.start(tmp_path_factory.mktemp("proxy"), toml) as running:
            yield running


def s_client(proxy: Proxy, *options: str | Path) -> str:
    """What s_client says of a connection on which a line was echoed: a TLS 1.3 ticket has come by then."""
    openssl = require("openssl", package="openssl")
    [port] = proxy.ports()
    with Program([openssl, "s_client", "-connect", f"127.0.0.1:{port}", *options]) as client:
        client.send(b"hello\n")
        client.wait_for_output("^hello$")
        client.close_input()
        client.wait()
        return client.output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_resumed_at_every_worker(proxy: Proxy, tmp_path: Path, version: str) -> None:
    ticket = tmp_path / "session.pem"
    seen = len(proxy.notes)
    assert re.search("^New, TLSv1", s_client(proxy, version, "-sess_out", ticket), re.MULTILINE)
    for _ in range(ATTEMPTS):
        assert re.search("^Reused, TLSv1", s_client(proxy, version, "-sess_in", ticket), re.MULTILINE)
    established = [note for note in proxy.notes[seen:] if note["event"] == "tls_established"]
    assert [note["resumed"] for note in established] == [False] + [True] * ATTEMPTS
    workers = {note["session"].rpartition(".")[0] for note in established if note["resumed"]}
    assert len(workers) == 2
