"""Asking a finished context which TLS versions it speaks, by a client in memory: what counts is what it does.

Bounds, ``OP_NO_*``, security level, cipher suites and the type of the certificate's key decide together, and OpenSSL
accepts combinations under which every handshake fails.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache

from OpenSSL import SSL

from tlsproxy.errors import OptionsError
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion
from tlsproxy.tls.ciphers import SECURITY_LEVEL_0, TLS13_SUITES
from tlsproxy.tls.reasons import reason_text

_READ_SIZE = 64 * 1024


_NO_SHARED_SUITE = "no shared cipher"
_NO_SUITE_FOR_HIGHEST = "no ciphers available"
"""OpenSSL then refuses clients of every version (``tls_setup_handshake()`` in ssl/statem/statem_lib.c)."""


def check_versions(
    context: SSL.Context, protocols: TlsProtocols, key_types: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Try every TLS version on a server's context.

    :param key_types: Types of the keys of its certificates, for messages.
    :returns: Warnings, an option's name and what about its value may not be as meant: versions allowed that don't work.
    :raises OptionsError: None of those allowed works, or one works that isn't allowed.
    """
    refusals = {version: refusal(context, version) for version in TlsVersion}
    excess = [
        version
        for version, reason in refusals.items()
        if reason is None and version not in protocols.versions
    ]
    if excess:
        raise OptionsError((("tls_protocols", f"the TLS library accepts {_labels(excess)} nevertheless"),))
    refused = {
        version: reason for version, reason in refusals.items() if reason and version in protocols.versions
    }
    problems = tuple(_explained(refused, protocols.maximum, " and ".join(key_types)))
    if len(refused) == len(protocols.versions):
        raise OptionsError(problems)
    yield from problems


def _explained(
    refused: dict[TlsVersion, str], highest: TlsVersion, key_types: str
) -> Iterator[tuple[str, str]]:
    if _NO_SUITE_FOR_HIGHEST in refused.values():
        what = f"has no suite for {highest.label}, the highest version that tls_protocols allows"
        yield _suite_option(highest), f"{what}: the TLS library then refuses every client"
        return
    causes: dict[tuple[str, str], list[TlsVersion]] = {}
    for version, reason in refused.items():
        if reason == _NO_SHARED_SUITE:
            cause = _suite_option(version), f"has no suite for the certificate ({key_types})"
        else:
            cause = "tls_certificate", f"can't be used ({reason})"
        causes.setdefault(cause, []).append(version)
    for (option, what), versions in causes.items():
        labels = _labels(versions)
        yield (
            option,
            f"{what} with {labels}, which tls_protocols allows: clients that speak {labels} alone are refused",
        )


def _suite_option(version: TlsVersion) -> str:
    return "tls_ciphersuites" if version is TlsVersion.TLS1_3 else "tls_ciphers"


def _labels(versions: Iterable[TlsVersion]) -> str:
    return ", ".join(version.label for version in sorted(versions))


def refusal(context: SSL.Context, version: TlsVersion) -> str | None:
    """Why ``context`` refuses a client that speaks ``version`` alone, with every cipher suite; None when it doesn't.

    The server's first flight is made, no further: that settles version, suite and certificate.
    """
    client = SSL.Connection(_client_context(version))
    client.set_connect_state()
    server = SSL.Connection(context)
    server.set_accept_state()
    with suppress(SSL.WantReadError):
        client.do_handshake()
    server.bio_write(client.bio_read(_READ_SIZE))
    try:
        with suppress(SSL.WantReadError):
            server.do_handshake()
    except SSL.Error as error:
        return reason_text(error)
    # To a client without TLS 1.3 a server proposes a lower version (RFC 5246 §E.1), and it is the client that refuses.
    return None if server.get_protocol_version() == version else "unsupported protocol"


@cache
def _client_context(version: TlsVersion) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_cipher_list(f"ALL:COMPLEMENTOFALL:{SECURITY_LEVEL_0}".encode("ascii"))
    context.set_tls13_ciphersuites(":".join(TLS13_SUITES).encode("ascii"))
    return context
