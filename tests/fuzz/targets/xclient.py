"""Whatever a name, a login or an offer holds, XCLIENT is lines of offered attributes in xtext, each read back as it was."""

import re
from ipaddress import ip_address

from tests.fuzz.inputs import taken
from tlsproxy.errors import XclientError
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.xclient import (
    MAX_LINE_SIZE,
    MAX_VALUE_SIZE,
    UNAVAILABLE,
    offered_attributes,
    xclient_command,
    xtext,
    xtext_decoded,
)

MAX_SIZE = 128
TOKENS = (
    b"\0",
    b"+",
    b"=",
    b"+2B",
    b"\r\n",
    b" ADDR",
    b"ADDR PORT NAME HELO PROTO LOGIN REVERSE_NAME DESTADDR DESTPORT",
    b"[UNAVAILABLE]",
    b"XCLIENT",
    b"x" * 60,
    b"\xff" * 30,
)

_LINE = re.compile(rb"XCLIENT(?: ([A-Z_]+)=([!-*,-<>-~]|\+[0-9A-F]{2})+)*\r\n")
_ENDS = (
    ClientAddress(None),
    ClientAddress(ip_address("192.0.2.1"), 65535),
    ClientAddress(ip_address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), 1),
)


def one_input(data: bytes) -> None:
    """See the module. The input is an offer, a HELO name, a login and a host name, with NUL between them."""
    (choice,), rest = taken(data, 1)
    _read_xtext(rest)
    client, destination = _ENDS[choice % 3], _ENDS[choice // 3 % 3]
    parameters, helo, login, name = (*rest.split(b"\0", 3), b"", b"", b"")[:4]
    offered = offered_attributes(parameters.decode("latin-1"))
    try:
        lines = xclient_command(
            offered,
            client=client,
            destination=destination,
            helo=helo or None,
            protocol="ESMTP",
            login=None if choice & 0x80 else login,
            name=name,
        )
    except XclientError as error:
        assert "ADDR" not in offered
        assert str(error)
        return
    told: dict[bytes, bytes] = {}
    for line in lines:
        assert len(line) <= MAX_LINE_SIZE
        assert _LINE.fullmatch(line), line
        for attribute in line[:-2].split(b" ")[1:]:
            key, _, value = attribute.partition(b"=")
            assert key not in told
            assert len(value) <= MAX_VALUE_SIZE
            told[key] = xtext_decoded(value)
    assert {key.decode() for key in told} <= offered
    assert b"ADDR=" in lines[-1]  # behind it the server sees the client, who isn't trusted
    for key, value in (b"HELO", helo), (b"LOGIN", login), (b"NAME", name), (b"REVERSE_NAME", name):
        if key in told:
            fits = 0 < len(xtext(value)) <= MAX_VALUE_SIZE
            assert told[key] == (value if fits else UNAVAILABLE.encode())


def _read_xtext(value: bytes) -> None:
    assert xtext_decoded(xtext(value)) == value
    try:
        decoded = xtext_decoded(value)
    except ValueError:
        return
    assert xtext_decoded(xtext(decoded)) == decoded
    assert len(decoded) <= len(value)
