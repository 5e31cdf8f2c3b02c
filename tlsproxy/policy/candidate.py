"""Whom a stricter ``tls_protocols`` would refuse: the rule behind ``tls_protocols_report``.

A server takes the highest version that it and the client's offer have in common (RFC 8446 §4.2.1, RFC 5246 §E.1). So a
candidate that has the version negotiated today serves the client, and one that has another of those the client named serves
it too, with that. A client that names none but says how far up it goes may or may not go lower: it is counted as refused,
since a report that is wrong has to be wrong in this direction. Ciphers and certificates aren't looked at.
"""

from collections.abc import Iterable

from tlsproxy.policy.protocols import TlsProtocols, TlsVersion


def would_refuse(candidate: TlsProtocols, negotiated: int, named: Iterable[int]) -> bool:
    """Whether a client that is served today couldn't be under ``candidate``, as far as is known.

    :param negotiated: The version in use, by its number on the wire.
    :param named: The versions that the client's ``supported_versions`` named; none where it sent none, or isn't known.
    """
    return not candidate.allows(negotiated) and not any(map(candidate.allows, named))


def refuses_nobody(candidate: TlsProtocols) -> bool:
    """Whether ``candidate`` has every version, as an empty list does: there is nothing to look at."""
    return candidate.versions.issuperset(TlsVersion)


def is_stricter(candidate: TlsProtocols, protocols: TlsProtocols) -> bool:
    """Whether ``candidate`` lacks a version that ``protocols`` allows. If not, it can refuse nobody who is served."""
    return not protocols.versions <= candidate.versions
