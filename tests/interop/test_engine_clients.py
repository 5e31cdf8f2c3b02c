"""The TLS engine alone, on a socket, with clients that nobody here wrote."""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.certificates import Authority
from tests.support.processes import Program
from tests.support.programs import require
from tlsproxy.config.declaration import FileName
from tlsproxy.config.settings import Settings
from tlsproxy.errors import RenegotiationRefused, TlsError
from tlsproxy.fronts import KINDS
from tlsproxy.identity.client import TlsFacts
from tlsproxy.policy.handshakes import Outcome, RenegotiationAction
from tlsproxy.policy.protocols import TlsProtocols
from tlsproxy.tls.contexts import ContextStore
from tlsproxy.tls.engine import Engine

pytestmark = pytest.mark.interop

TIMEOUT = 20


class EchoServer:
    """Serves one connection after the other by an engine, and sends back what it receives.

    :ivar engines: One for each connection, in order.
    :ivar errors: What ended connections.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines: list[Engine] = []
        self.facts: list[TlsFacts] = []
        self.attempts: list[tuple[int, Outcome]] = []
        self.errors: list[TlsError] = []
        self._context = ContextStore().server_context(settings, KINDS["stream"])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(TIMEOUT)
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(TIMEOUT)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(TIMEOUT)
                with suppress(ConnectionError):
                    self._echo(connection)

    def _echo(self, connection: socket.socket) -> None:
        engine = Engine(
            self._context.new_connection(),
            protocols=self.settings.tls_protocols,
            policy=self.settings.handshake_policy,
            on_renegotiation=lambda attempt, outcome: self.attempts.append((attempt, outcome)),
        )
        self.engines.append(engine)
        try:
            while not engine.peer_closed and (data := connection.recv(65536)):
                plaintext = engine.receive(data, time.monotonic())
                if engine.facts is not None and len(self.facts) < len(self.engines):
                    self.facts.append(engine.facts)
                if plaintext:
                    engine.send(plaintext)
                connection.sendall(engine.bytes_to_send())
        except TlsError as error:
            self.errors.append(error)
        with suppress(OSError):  # the client is gone already
            engine.close_write()
            connection.sendall(engine.bytes_to_send())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def server(authority: Authority, **options: object) -> EchoServer:
    issued = authority.issue("localhost", key_type="rsa")
    return EchoServer(
        Settings(
            tls_certificate=(FileName(str(issued.chain_path)),),
            tls_key=(FileName(str(issued.key_path)),),
            **options,  # type: ignore[arg-type]
        )
    )


def s_client(port: int, *options: str | Path) -> list[str | Path]:
    return [require("openssl", package="openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *options]


@pytest.mark.parametrize("letter", [b"k", b"K"])
def test_key_updates_of_s_client_are_counted_and_data_goes_on(authority: Authority, letter: bytes) -> None:
    with server(authority) as echo, Program(s_client(echo.port, "-tls1_3")) as client:
        client.wait_for_output("Verify return code")
        for number in range(3):
            client.send(letter + b"\n")
            client.wait_for_output(f"(KEYUPDATE\n[^K]*){{{number + 1}}}")
            client.send(b"line %d\n" % number)
            client.wait_for_output(f"^line {number}$")
        assert echo.engines[0].key_updates == 3
        assert echo.engines[0].renegotiations == 0


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_s_client_resumes(authority: Authority, tmp_path: Path, version: str) -> None:
    session = tmp_path / "session"
    with server(authority) as echo:
        for option, state in (("-sess_out", "New"), ("-sess_in", "Reused")):
            with Program(s_client(echo.port, version, option, session)) as client:
                client.wait_for_output(f"^{state}, TLSv1")
                client.send(b"hello\n")
                client.wait_for_output("^hello$")
                client.send(b"Q\n")
                client.wait()
    assert [facts.resumed for facts in echo.facts] == [False, True]


def gnutls_cli(port: int, priority: str) -> list[str | Path]:
    program = require("gnutls-cli", package="gnutls-bin")
    return [program, "--insecure", "--rehandshake", "--priority", priority, "--port", str(port), "127.0.0.1"]


RENEGOTIATING = TlsProtocols.parse("TLSv1.2")


WARNED, CLOSED = Outcome.WARNED, Outcome.CLOSED


@pytest.mark.parametrize(
    ("action", "attempts"),
    [
        (RenegotiationAction.CLOSE, [(1, CLOSED)]),
        (
            RenegotiationAction.WARN,
            [(1, WARNED), (2, WARNED), (3, WARNED), (4, CLOSED)],
        ),  # gnutls-cli tries again
    ],
)
def test_renegotiation_without_rfc_5746_is_refused_where_it_is_allowed(
    authority: Authority, action: RenegotiationAction, attempts: list[tuple[int, Outcome]]
) -> None:
    options = {"tls_allow_renegotiation": True, "tls_renegotiation_action": action}
    with server(authority, tls_protocols=RENEGOTIATING, **options) as echo:
        with Program(gnutls_cli(echo.port, "NORMAL:-VERS-TLS1.3:%DISABLE_SAFE_RENEGOTIATION")) as client:
            client.wait_for_output("ReHandshake has failed", timeout=TIMEOUT)
            client.wait()
    assert echo.attempts == attempts
    assert [type(error) for error in echo.errors] == [RenegotiationRefused]


def test_renegotiation_with_rfc_5746_is_completed_where_it_is_allowed(authority: Authority) -> None:
    with server(authority, tls_protocols=RENEGOTIATING, tls_allow_renegotiation=True) as echo:
        with Program(gnutls_cli(echo.port, "NORMAL")) as client:
            client.wait_for_output("ReHandshake was completed", timeout=TIMEOUT)
            client.send(b"still here\n")
            client.wait_for_output("still here")
    assert echo.attempts == [(1, Outcome.ALLOWED)]
    assert echo.errors == []
