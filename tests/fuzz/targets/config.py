"""Any text becomes a configuration, or a list of problems each of which says what is wrong; nothing else comes of it."""

from tlsproxy.config.model import Configuration
from tlsproxy.config.parse import parse
from tlsproxy.config.resolve import Resolver
from tlsproxy.config.tables import BACKEND, LISTEN, OPTIONS, TOP
from tlsproxy.errors import ConfigurationError
from tlsproxy.identity.client import normalized_address

MAX_SIZE = 1024
TOKENS = (
    *(f"{name} = ".encode() for name in sorted({*OPTIONS, *BACKEND.own, *LISTEN.own, *TOP.own})),
    b"[backend.b]\nservers = [",
    b"[[esmtp_listener]]\nbackend = ",
    b"[[stream_listener]]\nbackend = ",
    b"[[esmtp_listener.listen]]\naddress = ",
    b"[[esmtp_listener.peer]]\nnetwork = ",
    b"[[esmtp_listener.listen.peer]]\nnetwork = ",
    b"[pathway.p]\n",
    b"[pathway_group.g]\n",
    b"[pathway_group.g.pathway.q]\n",
    b'pathway = "p"\n',
    b'"127.0.0.1:25"',
    b'"[::1]:25"',
    b'"unix:/run/s"',
    b'"systemd:smtp"',
    b'"10.0.0.0/8"',
    b'"2001:db8::/32"',
    b'">=TLSv1.2"',
    b"true",
    b"1e999",
    b"nan",
    b"-1",
    b"{}",
    b"[]",
    b"[[",
    b"1979-05-27",
    b'identity = "xclient"\n',
)

_CLIENTS = (None, normalized_address("10.3.7.9"), normalized_address("2001:db8::1"))


def one_input(data: bytes) -> None:
    """See the module."""
    try:
        configuration = parse(data.decode("utf-8", "replace"), "/etc/tlsproxy/tlsproxy.toml")
    except ConfigurationError as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)
        return
    assert configuration.listeners
    assert all(warning.message for warning in configuration.warnings)
    _resolve(configuration)


def _resolve(configuration: Configuration) -> None:
    for listener in configuration.listeners:
        assert listener.backend in configuration.backends
        for listen in listener.listens:
            resolver = Resolver(configuration, listener, listen)
            known = {resolution.settings for resolution in resolver.resolutions()}
            assert {resolver.settings_for(client) for client in _CLIENTS} <= known
