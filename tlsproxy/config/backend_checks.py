"""What doesn't go together in a backend, or between a backend and the listeners that use it."""

from collections.abc import Iterator
from typing import Final

import attrs

from tlsproxy.config.addresses import ServerAddress, TcpAddress, UnixAddress
from tlsproxy.config.backend import Backend, BackendTls, HealthCheck
from tlsproxy.config.model import Configuration
from tlsproxy.config.reader import Findings
from tlsproxy.config.toml_text import key_path
from tlsproxy.fronts.options import IdentityMode
from tlsproxy.policy.selection import SelectionPolicy

_PROXY_HEADERS: Final = (IdentityMode.PROXY_V1, IdentityMode.PROXY_V2)

_FITTING: Final = {HealthCheck.SMTP: {"esmtp", "stream"}, HealthCheck.HTTP: {"http", "stream"}}
"""Kinds of listeners whose servers may speak what a check speaks."""

_DEFAULTS: Final = {field.name: field.default for field in attrs.fields(Backend)}


def check_backends(configuration: Configuration, findings: Findings) -> None:
    """Note options of backends that contradict each other; warn of servers whose name isn't verified."""
    for backend in configuration.backends.values():
        if backend.path in findings.tainted:
            continue
        kinds = sorted(
            {listener.kind for listener in configuration.listeners if listener.backend == backend.name}
        )
        tls = _plaintext(backend) if backend.tls is BackendTls.NONE else _tls(backend)
        for option, message in (*_servers(backend), *_times(backend), *tls, *_use(backend, kinds)):
            findings.problem(f"{backend.path}.{option}", message)
        if backend.tls is not BackendTls.NONE and not backend.tls_verify_name:
            findings.warn(
                key_path(backend.path, "tls_verify_name"),
                "false: whoever has any certificate of the authorities in tls_ca can pass for the server",
            )


def server_name(backend: Backend, address: ServerAddress) -> str:
    """What the certificate of a backend's server must be for: a host name, or an IP address; empty for neither."""
    host = address.host if isinstance(address, TcpAddress) else ""
    return (backend.tls_server_name or host).removesuffix(".")


def _servers(backend: Backend) -> Iterator[tuple[str, str]]:
    seen: dict[ServerAddress, int] = {}
    for index, server in enumerate(backend.servers):
        option = f"servers[{index}]"
        first = seen.setdefault(server.address, index)
        if first != index:
            yield option, f"{server} is servers[{first}] as well: name it once, with a higher weight"
        if server.weight != 1 and backend.policy is SelectionPolicy.FAILOVER:
            yield f"{option}.weight", 'has no meaning with policy = "failover", where order alone counts'


def _times(backend: Backend) -> Iterator[tuple[str, str]]:
    shortest = backend.connect_timeout
    if backend.connect_deadline < shortest:
        value = f"{backend.connect_deadline:g}"
        yield "connect_deadline", f"must be at least connect_timeout, {shortest:g} seconds, not {value}"
    longest = backend.health_check_interval
    if backend.health_check is not HealthCheck.NONE and backend.health_check_timeout > longest:
        value = f"{backend.health_check_timeout:g}"
        yield (
            "health_check_timeout",
            f"must be at most health_check_interval, {longest:g} seconds, not {value}",
        )


def _plaintext(backend: Backend) -> Iterator[tuple[str, str]]:
    for name, default in _DEFAULTS.items():
        if name.startswith("tls_") and getattr(backend, name) != default:
            yield name, 'has no effect with tls = "none": connections to the servers are in plaintext'


def _tls(backend: Backend) -> Iterator[tuple[str, str]]:
    tls = f'tls = "{backend.tls.value}"'
    if backend.tls_ca is None:
        what = "the PEM file with the authorities that servers are verified against"
        yield "tls_ca", f"is missing: {tls} needs {what} (Debian: /etc/ssl/certs/ca-certificates.crt)"
    if backend.tls_key is not None and backend.tls_certificate is None:
        yield "tls_key", "has no effect without tls_certificate"
    nameless = [server for server in backend.servers if isinstance(server.address, UnixAddress)]
    if nameless and backend.tls_verify_name and not backend.tls_server_name:
        what = f"{nameless[0]} has no name that a certificate could be verified for"
        yield "tls_server_name", f"is missing: {what}"
    if backend.identity in _PROXY_HEADERS:
        why = "servers expect the header before the handshake, and it would come behind"
        yield "identity", f'"{backend.identity.value}" doesn\'t go with {tls}: {why}'


def _use(backend: Backend, kinds: list[str]) -> Iterator[tuple[str, str]]:
    """:param kinds: Of the listeners that use it."""
    others = [kind for kind in kinds if kind != "esmtp"]
    if backend.tls is BackendTls.STARTTLS and others:
        yield "tls", f'"starttls" is for SMTP, and this backend serves {others[0]}_listener: use "implicit"'
    checked = backend.health_check
    unlike = [kind for kind in kinds if kind not in _FITTING.get(checked, kinds)]
    if unlike:
        yield (
            "health_check",
            f'"{checked.value}" isn\'t what {unlike[0]}_listener speaks, which uses this backend',
        )
