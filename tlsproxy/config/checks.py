"""What can only be seen on the configuration as a whole."""

from collections.abc import Iterator
from ipaddress import ip_address

from tlsproxy.config.addresses import ListenAddress, TcpAddress
from tlsproxy.config.backend import Backend
from tlsproxy.config.model import Configuration, ConnectionScope, Listen, Listener
from tlsproxy.config.reader import Findings
from tlsproxy.config.suggest import alternatives
from tlsproxy.config.toml_text import key_path
from tlsproxy.fronts import KINDS
from tlsproxy.fronts.options import IdentityMode

_FROM_OUR_ADDRESS = frozenset({IdentityMode.NONE, IdentityMode.TRACE_HEADER})
"""With these the server's rules see the proxy's address. It trusts no field in a message, and shouldn't."""

_IPV4_ANY, _IPV6_ANY = "0.0.0.0", "::"  # noqa: S104 - compared with, not bound to


def check_addresses(configuration: Configuration, findings: Findings) -> None:
    """Note addresses that can't be listened on together, and backends that are the proxy itself."""
    seen: dict[ListenAddress, str] = {}
    for path, address in _listened(configuration):
        if isinstance(address, TcpAddress) and address.port == 0:
            continue
        other = seen.setdefault(address, path)
        if other != path:
            findings.problem(
                path, f"{address} is the address of {other} as well: each can be listened on once"
            )
    for address, path in seen.items():
        _check_wildcard(address, path, seen, findings)
    for backend in configuration.backends.values():
        _check_loop(backend, seen, findings)


def check_use(configuration: Configuration, findings: Findings) -> None:
    """Warn of what is defined and never used."""
    backends = {listener.backend for listener in configuration.listeners}
    for backend in configuration.backends.values():
        if backend.name not in backends:
            findings.warn(backend.path, "is never used: no listener names this backend")
    attached = set(_attached(configuration))
    for pathway in configuration.pathways.values():
        if pathway.name not in attached:
            findings.warn(pathway.path, "is never used: no listener, listen or peer names this pathway")
    groups = {pathway.group for pathway in configuration.pathways.values()}
    for group in configuration.pathway_groups.values():
        if group.name not in groups:
            findings.warn(group.path, "is never used: no pathway is in this group")


def check_identity(configuration: Configuration, findings: Findings) -> None:
    """Note identities that a kind of listener can't tell; warn of mail servers that take every client for the proxy."""
    for listener in configuration.listeners:
        _check_kind(listener, configuration.backends.get(listener.backend), findings)
    used = {listener.backend for listener in configuration.listeners if listener.kind == "esmtp"}
    for backend in configuration.backends.values():
        if (
            backend.name not in used
            or backend.identity not in _FROM_OUR_ADDRESS
            or _comes_from_elsewhere(backend)
        ):
            continue
        address = backend.source_address or _own_address(backend)
        findings.warn(
            key_path(backend.path, "identity"),
            f'"{backend.identity.value}": to this server every client on the Internet comes from {address}. If it relays '
            "for that address (Postfix: mynetworks; 127.0.0.1 is in nearly every default) it is an OPEN RELAY. Set "
            "identity to xclient, proxy_v1 or proxy_v2 if the server understands one, or take that address out of what it "
            "trusts; `tlsproxy probe --relay-test` shows whether it relays",
        )


def _check_kind(listener: Listener, backend: Backend | None, findings: Findings) -> None:
    possible = KINDS[listener.kind].identities
    if backend is not None and backend.identity not in possible:
        words = alternatives(f'"{mode.value}"' for mode in IdentityMode if mode in possible)
        findings.problem(
            key_path(backend.path, "identity"),
            f'"{backend.identity.value}" can\'t be told over a {listener.kind}_listener, which uses this backend '
            f"({listener.path}): there it is {words}",
        )


def _comes_from_elsewhere(backend: Backend) -> bool:
    """Whether an address was chosen to come from: one that the server doesn't trust. It may trust all of loopback."""
    return backend.source_address is not None and not _is_loopback(backend.source_address)


def _own_address(backend: Backend) -> str:
    server = backend.servers[0].address if backend.servers else None
    if isinstance(server, TcpAddress) and _is_loopback(server.host):
        return "::1" if ":" in server.host else "127.0.0.1"
    return "this machine's address"


def _listens(configuration: Configuration) -> Iterator[Listen]:
    for listener in configuration.listeners:
        yield from listener.listens


def _listened(configuration: Configuration) -> Iterator[tuple[str, ListenAddress]]:
    """Every address listened on, with its key path."""
    for listen in _listens(configuration):
        yield key_path(listen.path, "address"), listen.address
    if configuration.metrics_listen is not None:
        yield "metrics_listen", configuration.metrics_listen
    if configuration.status_listen is not None:
        yield "status_listen", configuration.status_listen


def _check_wildcard(
    address: ListenAddress, path: str, seen: dict[ListenAddress, str], findings: Findings
) -> None:
    """Linux refuses a second socket on a port where a wildcard address listens, SO_REUSEADDR or not (socket(7))."""
    if not isinstance(address, TcpAddress):
        return
    wildcard = TcpAddress(_IPV6_ANY if ":" in address.host else _IPV4_ANY, address.port)
    if address != wildcard and wildcard in seen:
        findings.problem(
            path, f"{address} is part of {wildcard}, which {seen[wildcard]} listens on: keep one of them"
        )


def _check_loop(backend: Backend, seen: dict[ListenAddress, str], findings: Findings) -> None:
    for index, server in enumerate(each.address for each in backend.servers):
        same: list[ListenAddress] = [server]
        if isinstance(server, TcpAddress) and _is_loopback(server.host):
            same += [TcpAddress(_IPV4_ANY, server.port), TcpAddress(_IPV6_ANY, server.port)]
        for address in same:
            if address in seen:
                findings.problem(
                    f"{backend.path}.servers[{index}]",
                    f"{server} is tlsproxy itself, which listens on {address} ({seen[address]}): "
                    "every session would come back to it",
                )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _attached(configuration: Configuration) -> Iterator[str | None]:
    """The pathway of every scope that can have one."""
    for listener in configuration.listeners:
        scopes: tuple[ConnectionScope, ...] = (listener, *listener.peers, *listener.listens)
        for scope in scopes:
            yield scope.pathway
        for listen in listener.listens:
            for peer in listen.peers:
                yield peer.pathway
