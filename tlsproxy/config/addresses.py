"""Where tlsproxy listens, and where a backend's servers are.

One notation for both: ``HOST:PORT`` with IPv6 in brackets (RFC 3986 §3.2.2), ``unix:/PATH``, and for a listen also
``systemd:NAME``, a socket that the service manager hands over under that name (sd_listen_fds(3)).
"""

import os
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import PurePosixPath

from attrs import frozen


@frozen
class TcpAddress:
    """A TCP address. ``host`` is an IP address in its normal form, without brackets; a server's may be a host name."""

    host: str
    port: int
    """0 on a listen: the kernel chooses a free port."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class UnixAddress:
    """A stream socket in the file system (unix(7))."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@frozen
class SystemdAddress:
    """A listening socket from systemd, by the ``FileDescriptorName=`` of its unit."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


ListenAddress = TcpAddress | UnixAddress | SystemdAddress
ServerAddress = TcpAddress | UnixAddress

_LISTEN_FORMS = '"192.0.2.1:25", "[2001:db8::1]:25", "unix:/run/tlsproxy/smtp.sock" or "systemd:NAME"'
_SERVER_FORMS = '"192.0.2.1:25", "[2001:db8::1]:25", "mail.example.org:25" or "unix:/run/mail.sock"'

MAX_UNIX_PATH = 107
"""Bytes of a socket's path: ``sun_path`` has 108 with the final NUL (unix(7))."""

MAX_SYSTEMD_NAME = 255
"""Bytes of a ``FileDescriptorName=`` (systemd.socket(5))."""


def parse_listen_address(text: str) -> ListenAddress:
    """Read the address of a listen.

    :raises ValueError: ``text`` is none; the message says what would be.
    """
    if text.startswith("systemd:"):
        return SystemdAddress(_systemd_name(text))
    if text.startswith("unix:"):
        return UnixAddress(_unix_path(text))
    host, port = _host_and_port(text, _LISTEN_FORMS)
    return TcpAddress(_listen_host(text, host, port), _port(text, port, lowest=0))


def parse_tcp_listen_address(text: str) -> TcpAddress:
    """Read an address that can be TCP alone. A port without a host is one of 127.0.0.1.

    :raises ValueError: ``text`` is none; the message says what would be.
    """
    if text.isdecimal():
        return TcpAddress("127.0.0.1", _port(text, text, lowest=0))
    address = parse_listen_address(text)
    if isinstance(address, TcpAddress):
        return address
    raise ValueError(f'must be a TCP address such as "127.0.0.1:9105", not "{text}"')


def parse_server_address(text: str) -> ServerAddress:
    """Read the address of a backend's server.

    :raises ValueError: ``text`` is none; the message says what would be.
    """
    if text.startswith("systemd:"):
        raise ValueError(f'must be {_SERVER_FORMS}, not "{text}": systemd hands over listening sockets')
    if text.startswith("unix:"):
        return UnixAddress(_unix_path(text))
    host, port = _host_and_port(text, _SERVER_FORMS)
    return TcpAddress(_server_host(text, host), _port(text, port, lowest=1))


def _host_and_port(text: str, forms: str) -> tuple[str, str]:
    """Split at the last colon; brackets stay on the host."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or host.endswith(":"):
        raise ValueError(f'must be {forms}, not "{text}"{_missing_port(text)}')
    return host, port


def _missing_port(text: str) -> str:
    address = _ip(text.strip("[]"))
    return "" if address is None else ": the port is missing"


def _port(text: str, port: str, *, lowest: int) -> int:
    # isdecimal alone would let in digits of other scripts.
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and lowest <= int(port) <= 65535):
        raise ValueError(f'must end in a port number from {lowest} to 65535, not "{text}"')
    return int(port)


def _listen_host(text: str, host: str, port: str) -> str:
    if host == "*":
        raise ValueError(f'must have an IP address: "0.0.0.0:{port}" or "[::]:{port}" instead of "{text}"')
    address = _literal(text, host)
    if address is None:
        raise ValueError(f'must have an IP address, not the name "{host}": {_LISTEN_FORMS}')
    return address


def _server_host(text: str, host: str) -> str:
    address = _literal(text, host)
    if address is not None:
        return address
    if not is_host_name(host):
        raise ValueError(f'must have an IP address or a host name, not "{host}": {_SERVER_FORMS}')
    return host.lower()


def _literal(text: str, host: str) -> str | None:
    """The normal form of an IP address literal; None for what may be a name.

    :raises ValueError: IPv6 without its brackets, brackets around something else, or IPv4 in IPv6's clothes.
    """
    bracketed = host.startswith("[") and host.endswith("]")
    address = _ip(host[1:-1] if bracketed else host)
    if bracketed != isinstance(address, IPv6Address):
        raise ValueError(
            f'must have brackets around an IPv6 address and nothing else: "[2001:db8::1]:25", not "{text}"'
        )
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f'must have the IPv4 address as such, {address.ipv4_mapped} instead of "{host}"')
    return None if address is None else str(address)


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


# RFC 952 and RFC 1123 §2.1; the underscore is in neither, and in many internal names.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE | re.ASCII)


def is_host_name(host: str) -> bool:
    """Whether ``host`` can be the name of a host (RFC 1123 §2.1)."""
    labels = host.removesuffix(".").split(".")
    numeric = labels[
        -1
    ].isdecimal()  # an IPv4 address with a slip: no top-level domain is a number (RFC 3696 §2)
    return len(host) <= 253 and not numeric and all(_LABEL.fullmatch(label) for label in labels)


def _unix_path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path or "\0" in path or path.endswith("/"):
        raise ValueError(f'must name a socket file, "unix:/run/tlsproxy/smtp.sock", not "{text}"')
    if path.startswith("@"):
        raise ValueError(
            f'must be a socket in the file system: the abstract name "{path}" has no permissions (unix(7))'
        )
    normal = str(PurePosixPath(path))
    length = len(os.fsencode(normal))
    if length > MAX_UNIX_PATH:
        raise ValueError(f'has {length} bytes in its path, {MAX_UNIX_PATH} are possible (unix(7)): "{text}"')
    return normal


def _systemd_name(text: str) -> str:
    name = text.removeprefix("systemd:")
    valid = name.isascii() and name.isprintable() and ":" not in name and 0 < len(name) <= MAX_SYSTEMD_NAME
    if not valid:
        raise ValueError(
            f'must be "systemd:NAME" with the FileDescriptorName= of a socket unit '
            f'(1 to {MAX_SYSTEMD_NAME} printable characters, no colon), not "{text}"'
        )
    return name
