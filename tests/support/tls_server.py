"""A TLS server in a thread, on OpenSSL alone: what it does after the handshake is the test's to say."""

import contextlib
import socket
from collections.abc import Callable, Sequence

from OpenSSL import SSL

from tests.support.certificates import Issued
from tests.support.servers import TIMEOUT, Server
from tlsproxy.policy.protocols import TlsVersion

OP_ALLOW_CLIENT_RENEGOTIATION = 1 << 8

Reaction = Callable[[SSL.Connection, socket.socket], None]


def serve_on(tls: SSL.Connection, _plain: socket.socket) -> None:
    """Read until the client goes."""
    with contextlib.suppress(SSL.Error):
        while tls.recv(4096):
            pass


def hang_up(_tls: SSL.Connection, plain: socket.socket) -> None:
    """Close as soon as the client says anything."""
    plain.recv(1)


def ignore(_tls: SSL.Connection, plain: socket.socket) -> None:
    """Take everything, and answer nothing."""
    while plain.recv(65536):
        pass


def context_of(
    issued: Issued, versions: Sequence[TlsVersion], *, ciphers: str = "ALL:@SECLEVEL=0", options: int = 0
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(min(versions))
    context.set_max_proto_version(max(versions))
    context.set_cipher_list(ciphers.encode())
    context.set_options(options)
    context.set_session_id(b"test")
    context.use_certificate_chain_file(str(issued.chain_path))
    context.use_privatekey_file(str(issued.key_path))
    return context


def tls_server(context: SSL.Context, reaction: Reaction = serve_on) -> Server:
    """A context manager."""

    def handle(plain: socket.socket) -> None:
        plain.settimeout(None)  # OpenSSL takes a socket with a time-out for one that doesn't block
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(TIMEOUT).to_bytes(8, "little") + bytes(8))
        tls = SSL.Connection(context, plain)
        tls.set_accept_state()
        with contextlib.suppress(SSL.Error):
            tls.do_handshake()
            reaction(tls, plain)

    return Server(handle)
