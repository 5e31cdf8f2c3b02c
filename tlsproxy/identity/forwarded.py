"""Who the client is, told to an HTTP server: ``X-Forwarded-*``, ``Forwarded`` (RFC 7239), ``Via``, ``X-TLS-*``.

What a client itself says in these fields is thrown away: a server would believe it. Only a proxy named in
``trusted_proxies`` is believed, and its fields are carried on: lists get one more element, and what it says of scheme, host
and port stays. ``X-TLS-*`` are of this very connection, and believed from nobody.

Old servers make CGI variables of fields, in which any character that is no letter or digit may become ``_`` (RFC 3875
§4.1.18): ``X_TLS_Version`` is then ``X-TLS-Version``. So fields are known here by the form that CGI gives them.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from tlsproxy.identity.client import ClientAddress, TlsFacts

_CARRIED: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
    }
)

_BELIEVED_BY_SOME: Final = frozenset(
    {
        b"client-ip",
        b"front-end-https",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-host",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
        b"x-url-scheme",
    }
)

_CGI_FORM: Final = bytes(byte if byte < 128 and chr(byte).isalnum() else ord("-") for byte in range(256))


class Trust(Enum):
    """What a field of a client's is worth to a server behind the proxy."""

    ORDINARY = auto()
    """It says nothing that a proxy would say."""
    PROXYS = auto()
    """It is to be believed from a proxy alone."""
    CARRIED = auto()
    """So is this one, and the proxy writes it anew."""
    NOBODYS = auto()
    """It is believed from nobody."""


def cgi_form(name: bytes) -> bytes:
    """A field name in lower case with ``-`` for all but letters and digits: CGI programs can't tell two of a form apart."""
    return name.translate(_CGI_FORM)


@lru_cache(maxsize=1024)
def trust(name: bytes) -> Trust:
    """What a field is worth. Names are remembered: their size has to be limited.

    :param name: In lower case.
    """
    form = cgi_form(name)
    # CGI programs take HTTP_PROXY for the proxy that they are to use (httpoxy, CVE-2016-5385).
    if form.startswith(b"x-tls-") or form == b"proxy":
        return Trust.NOBODYS
    if not (form in _CARRIED or form in _BELIEVED_BY_SOME or form.startswith(b"x-forwarded")):
        return Trust.ORDINARY
    if form != name:
        return Trust.NOBODYS
    return Trust.CARRIED if form in _CARRIED else Trust.PROXYS


def is_trusted(client: ClientAddress, proxies: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether a client is a proxy that is believed; one on a unix socket never is."""
    ip = client.ip
    return ip is not None and any(ip in network for network in proxies)


class Forwarding:
    """What a server is told about the requests of one connection.

    :ivar trusted: The client is a proxy that is believed.
    """

    __slots__ = (
        "_address",
        "_element",
        "_port",
        "_remembered",
        "_remembered_for",
        "_scheme",
        "_tls_fields",
        "_told",
        "trusted",
    )

    def __init__(
        self,
        client: ClientAddress,
        local: ClientAddress,
        tls: TlsFacts | None,
        *,
        trusted: bool,
        tell_tls: bool,
    ) -> None:
        """
        :param client: Where the client connects from.
        :param local: What it connected to.
        :param tls: The TLS of its connection; None for plaintext.
        :param trusted: See :func:`is_trusted`.
        :param tell_tls: Send ``X-TLS-*``.
        """
        self.trusted = trusted
        self._scheme = b"https" if tls is not None else b"http"
        self._address = b"" if client.ip is None else str(client.ip).encode("ascii")
        self._port = b"" if local.ip is None else b"%d" % local.port
        self._element = _node(client)
        self._tls_fields = _tls_fields(tls) if tls is not None and tell_tls else b""
        self._told = self._tls_fields + b"".join(
            _line(name, value)
            for name, value in (
                (b"X-Forwarded-For", self._address),
                (b"X-Forwarded-Port", self._port),
                (b"X-Forwarded-Proto", self._scheme),
            )
        )
        self._remembered_for: tuple[bytes | None, int] | None = None
        self._remembered = b""

    def fields(self, host: bytes | None, minor: int, received: Mapping[bytes, bytes]) -> bytes:
        """The lines for one request.

        :param host: Its ``Host``, which has to be well formed.
        :param minor: Of the HTTP version in which it came.
        :param received: By name in lower case, the fields of ``Trust.CARRIED`` that came with it; of a client that isn't
            trusted they are disregarded.
        """
        if self.trusted and received:
            return self._continued(host, minor, received)
        if self._remembered_for != (host, minor):  # a connection's requests are for one host, nearly always
            named = b"" if host is None else b"X-Forwarded-Host: %b\r\n" % host
            of_this_one = self._told, named, self._element_for(host), minor
            self._remembered = b"%b%bForwarded: %b\r\nVia: 1.%d tlsproxy\r\n" % of_this_one
            self._remembered_for = host, minor
        return self._remembered

    def _continued(self, host: bytes | None, minor: int, received: Mapping[bytes, bytes]) -> bytes:
        """The lines for a request that came through another proxy."""
        told = received.get
        return self._tls_fields + b"".join(
            (
                _line(b"X-Forwarded-For", _appended(told(b"x-forwarded-for"), self._address)),
                _line(b"X-Forwarded-Port", told(b"x-forwarded-port") or self._port),
                _line(b"X-Forwarded-Proto", told(b"x-forwarded-proto") or self._scheme),
                _line(b"X-Forwarded-Host", told(b"x-forwarded-host") or host or b""),
                _line(b"Forwarded", _appended(told(b"forwarded"), self._element_for(host))),
                _line(b"Via", _appended(told(b"via"), b"1.%d tlsproxy" % minor)),
            )
        )

    def _element_for(self, host: bytes | None) -> bytes:
        """This connection's element of ``Forwarded``."""
        element = self._element if host is None else b'%b;host="%b"' % (self._element, host)
        return b"%b;proto=%b" % (element, self._scheme)

    def is_secure(self, received: Mapping[bytes, bytes]) -> bool:
        """Whether the request came to the outermost proxy by TLS, as far as that is to be believed."""
        first = received.get(b"x-forwarded-proto", b"").partition(b",")[0]
        return self._scheme == b"https" or (self.trusted and first.strip().lower() == b"https")


def _line(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value) if value else b""


def _appended(told: bytes | None, value: bytes) -> bytes:
    return b", ".join(filter(None, (told, value)))


def _node(client: ClientAddress) -> bytes:
    """RFC 7239 §6."""
    if client.ip is None:
        return b"for=unknown"
    return (b'for="[%b]"' if client.ip.version == 6 else b"for=%b") % str(client.ip).encode("ascii")


def _tls_fields(tls: TlsFacts) -> bytes:
    subject = tls.client_subject if tls.client_verified else None
    return b"".join(
        (
            _line(b"X-TLS-Version", _escaped(tls.version)),
            _line(b"X-TLS-Cipher", _escaped(tls.cipher)),
            _line(b"X-TLS-Client-Subject", _escaped(subject or "")),
        )
    )


_ESCAPES: Final = tuple(bytes([byte]) if 0x20 <= byte <= 0x7E else b"\\%02X" % byte for byte in range(256))


def _escaped(text: str) -> bytes:
    """Text in printable ASCII: any other byte of its UTF-8 as RFC 4514 §2.4 writes one."""
    return b"".join([_ESCAPES[byte] for byte in text.encode("utf-8", "surrogateescape")])
