"""TLS to a backend: one context for all connections to its servers."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final, cast

from attrs import field, frozen
from OpenSSL import SSL, crypto

from tlsproxy.config.backend import Backend
from tlsproxy.errors import OptionsError
from tlsproxy.policy.handshakes import HandshakePolicy, Outcome
from tlsproxy.tls.building import VERIFY_DEPTH, bounded_context, use_certificate
from tlsproxy.tls.certificates import Authorities, Certificate, load_bundle, load_certificate
from tlsproxy.tls.ciphers import cipher_list_warnings, effective_cipher_list, set_ciphers
from tlsproxy.tls.engine import Engine
from tlsproxy.tls.files import in_memory
from tlsproxy.tls.verify import check_server, is_sent_by_sni, verify_server

_AUTHENTICATED: Final = ":!aNULL:!eNULL"
"""What any cipher list is narrowed by: a suite without certificates has nobody to verify."""

Problem = tuple[str, str]
"""An option's name, and what is wrong with it."""


@frozen(eq=False)
class ClientContext:
    """Makes the client side of connections to one backend's servers."""

    certificate: Certificate | None
    """Shown to servers that ask for one."""
    warnings: tuple[Problem, ...]
    _backend: Backend = field(repr=False)
    _context: SSL.Context = field(repr=False)

    def new_engine(self, name: str, on_renegotiation: Callable[[int, Outcome], None] | None = None) -> Engine:
        """One connection.

        :param name: Host name or IP address that the server's certificate must be for; empty where ``tls_verify_name``
            is off and there is none to ask for.
        """
        backend = self._backend
        wanted = name if backend.tls_verify_name else ""
        connection = SSL.Connection(self._context)
        connection.set_connect_state()
        connection.set_app_data(wanted)
        if is_sent_by_sni(name):
            connection.set_tlsext_host_name(name.encode("ascii"))
        return Engine(
            connection,
            protocols=backend.tls_protocols,
            policy=HandshakePolicy(allow_renegotiation=backend.tls_allow_renegotiation),
            on_renegotiation=on_renegotiation,
            is_client=True,
            check_peer=partial(check_server, name=wanted),
        )


def client_context(backend: Backend, now: datetime | None = None) -> ClientContext:
    """Read the files that a backend's options name, and build its context.

    :param now: The time to judge certificates by; None: when they are read.
    :raises OptionsError: with every problem, of every option.
    """
    context = bounded_context(SSL.TLS_CLIENT_METHOD, backend.tls_protocols)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    problems = list(_set_ciphers(context, backend))
    authorities, certificate = _authorities(backend, now, problems), _certificate(backend, now, problems)
    if problems or authorities is None:
        raise OptionsError(tuple(problems))
    if certificate is not None:
        use_certificate(context, certificate)
    _verify_servers(context, authorities)
    enabled = SSL.Connection(context).get_cipher_list()
    warnings = (
        *(("tls_certificate", warning) for warning in (certificate.warnings if certificate else ())),
        *(("tls_ca", warning) for warning in authorities.warnings),
        *(("tls_ciphers", warning) for warning in cipher_list_warnings(backend.tls_ciphers, enabled)),
    )
    return ClientContext(certificate, warnings, backend, context)


def _set_ciphers(context: SSL.Context, backend: Backend) -> list[Problem]:
    reaches_below_tls12 = backend.tls_protocols.reaches_below_tls12
    cipher_list = effective_cipher_list(backend.tls_ciphers, reaches_below_tls12=reaches_below_tls12)
    return list(set_ciphers(context, cipher_list + _AUTHENTICATED, backend.tls_ciphersuites))


def _authorities(backend: Backend, now: datetime | None, problems: list[Problem]) -> Authorities | None:
    if backend.tls_ca is None:
        problems.append(("tls_ca", "names no file: the authorities to verify servers against are needed"))
        return None
    try:
        return load_bundle(backend.tls_ca, now)
    except OptionsError as error:
        problems += error.problems
        return None


def _certificate(backend: Backend, now: datetime | None, problems: list[Problem]) -> Certificate | None:
    if backend.tls_certificate is None:
        return None
    try:
        return load_certificate(backend.tls_certificate, backend.tls_key, now)
    except OptionsError as error:
        problems += error.problems
        return None


def _verify_servers(context: SSL.Context, authorities: Authorities) -> None:
    with in_memory(authorities.pem) as path:
        context.load_verify_locations(path)
    # What the operator listed is trusted: also an authority below a root that isn't, and a server's own certificate.
    store = cast("crypto.X509Store", context.get_cert_store())
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    context.set_verify_depth(VERIFY_DEPTH)
    context.set_verify(SSL.VERIFY_PEER, verify_server)
