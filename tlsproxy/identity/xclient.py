"""XCLIENT: who the client is, told to a mail server that trusts the proxy (Postfix's XCLIENT_README).

The reply to each command is 220 and puts the session back to its start: EHLO or HELO has to be sent again, and what it
offers counts from then on. Whatever isn't told stays what the server found out about the proxy itself, so that everything
the server takes is told: ``[UNAVAILABLE]`` where nothing is known.
"""

import re
from typing import Final, Literal

from tlsproxy.errors import XclientError
from tlsproxy.identity.client import ClientAddress

UNAVAILABLE: Final = "[UNAVAILABLE]"
"""Not known, and asking again won't help."""
TEMPUNAVAIL: Final = "[TEMPUNAVAIL]"
"""Not known for the moment; of names alone. A server that demands a name then defers (450), where it might refuse."""

MAX_LINE_SIZE: Final = 512
"""Bytes of a command, CRLF included (RFC 5321 §4.5.3.1.4), which XCLIENT_README repeats."""

MAX_VALUE_SIZE: Final = 255
"""Bytes of a value as written; Postfix answers 501 to a longer one."""

_COMMAND: Final = b"XCLIENT"
_CRLF: Final = b"\r\n"


def offered_attributes(parameters: str) -> frozenset[str]:
    """The attributes that an EHLO reply offers: what follows the keyword in ``XCLIENT NAME ADDR PROTO HELO``."""
    return frozenset(parameters.upper().split())


def xclient_command(
    offered: frozenset[str],
    *,
    client: ClientAddress,
    destination: ClientAddress,
    helo: str | bytes | None,
    protocol: Literal["SMTP", "ESMTP"],
    login: str | bytes | None = None,
    name: str | bytes = UNAVAILABLE,
) -> list[bytes]:
    """Write the command: one line, or where that doesn't hold it several, each sent when the one before it got its 220.

    A value longer than ``MAX_VALUE_SIZE`` is ``[UNAVAILABLE]``, never cut.

    :param offered: What the server takes, in capitals: :func:`offered_attributes`.
    :param client: Where the client connects from; ``[UNAVAILABLE]`` for one on a unix socket.
    :param destination: What it connected to.
    :param helo: What it said in HELO or EHLO, if it did.
    :param protocol: ``SMTP`` after HELO, ``ESMTP`` after EHLO.
    :param login: The name that it authenticated as, where the server isn't to see the AUTH dialogue itself.
    :param name: Its verified host name, ``UNAVAILABLE`` or ``TEMPUNAVAIL``.
    :raises XclientError: The server doesn't take ``ADDR``: it would believe that the proxy is the client.
    """
    if "ADDR" not in offered:
        listed = " ".join(sorted(offered)) or "nothing"
        raise XclientError(
            f"the backend's XCLIENT takes {listed}, without ADDR it can't be told who the client is"
        )
    values = {
        "PROTO": protocol,
        "HELO": helo,
        "DESTADDR": _address(destination),
        "DESTPORT": _port(destination),
        "NAME": name,
        "REVERSE_NAME": name,  # or Postfix keeps the name that it found for the proxy's own address
    }
    last: dict[str, str | bytes | None] = {"PORT": _port(client), "ADDR": _address(client)}
    if login is not None:
        last["LOGIN"] = login
    return _lines(
        [_attribute(key, value) for key, value in values.items() if key in offered],
        b"".join(_attribute(key, value) for key, value in last.items() if key in offered),
    )


def _lines(attributes: list[bytes], last: bytes) -> list[bytes]:
    """Spread the attributes over as few lines as hold them, ``last`` undivided on the last one.

    After ``ADDR`` the server sees the client, who isn't authorized to say more; and Postfix forgets ``LOGIN`` at the next
    XCLIENT. It forgets ``PROTO`` and ``HELO`` too, but learns them again from the EHLO or HELO that follows.
    """
    lines = [_COMMAND]
    for attribute in [*attributes, last]:
        if len(lines[-1]) + len(attribute) + len(_CRLF) > MAX_LINE_SIZE:
            lines.append(_COMMAND)
        lines[-1] += attribute
    return [line + _CRLF for line in lines]


def _address(end: ClientAddress) -> str | None:
    if end.ip is None:
        return None
    return f"IPV6:{end.ip}" if end.ip.version == 6 else str(end.ip)


def _port(end: ClientAddress) -> str | None:
    return None if end.ip is None else str(end.port)


def _attribute(key: str, value: str | bytes | None) -> bytes:
    encoded = xtext(value) if value else b""
    if not 0 < len(encoded) <= MAX_VALUE_SIZE:
        encoded = UNAVAILABLE.encode("ascii")
    return f" {key}=".encode("ascii") + encoded


_XTEXT: Final = tuple(
    bytes([byte]) if 33 <= byte <= 126 and byte not in b"+=" else b"+%02X" % byte for byte in range(256)
)


def xtext(value: str | bytes) -> bytes:
    """Encode so that no white space, control character, ``+`` or ``=`` is left (RFC 3461 §4). Text is UTF-8."""
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return b"".join([_XTEXT[byte] for byte in data])


_XTEXT_FORM: Final = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR: Final = re.compile(rb"\+(..)")


def xtext_decoded(value: bytes) -> bytes:
    """Undo :func:`xtext`.

    :raises ValueError: ``value`` isn't xtext.
    """
    if not _XTEXT_FORM.fullmatch(value):
        raise ValueError(f"{value!r} isn't xtext (RFC 3461 section 4)")
    return _HEXCHAR.sub(lambda hexchar: bytes([int(hexchar[1], 16)]), value)
