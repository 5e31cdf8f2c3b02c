"""Momentum's ``tls_protocols``, ``+ALL:-SSLv3``: names added and taken away from left to right."""

import re

from tlsproxy.config.importing.postfix_protocols import written
from tlsproxy.policy.protocols import TlsVersion

_NAMES = {
    "all": frozenset(TlsVersion),
    "sslv2": frozenset[TlsVersion](),  # neither is in an OpenSSL of this decade
    "sslv3": frozenset[TlsVersion](),
    "tlsv1": frozenset({TlsVersion.TLS1_0}),
    "tlsv1.0": frozenset({TlsVersion.TLS1_0}),
    "tlsv1.1": frozenset({TlsVersion.TLS1_1}),
    "tlsv1.2": frozenset({TlsVersion.TLS1_2}),
    "tlsv1.3": frozenset({TlsVersion.TLS1_3}),
}

_ELEMENT = re.compile(r"([+-]?)(.+)", re.DOTALL)


class MomentumProtocolsError(ValueError):
    """The list can't be carried over; the message says why."""


def translated(text: str) -> str:
    """The list for our ``tls_protocols``.

    :raises MomentumProtocolsError: It can't be read, or allows nothing.
    """
    versions: frozenset[TlsVersion] = frozenset()
    elements = [element for element in re.split(r"[:, \t\r\n]+", text) if element]
    if elements and elements[0].startswith("-"):
        raise MomentumProtocolsError(
            f"begins by taking {elements[0][1:]} away: from what, Momentum's manual doesn't say (it begins with +)"
        )
    for element in elements:
        match = _ELEMENT.fullmatch(element)
        sign, name = match.groups() if match is not None else ("", element)
        if name.lower() not in _NAMES:
            known = "ALL SSLv2 SSLv3 TLSv1.0 TLSv1.1 TLSv1.2 TLSv1.3"
            raise MomentumProtocolsError(f"{name!r} is no protocol that Momentum knows: there is {known}")
        named = _NAMES[name.lower()]
        versions = versions - named if sign == "-" else versions | named
    if not versions:
        raise MomentumProtocolsError("allows no TLS version that is left")
    return written(versions)
