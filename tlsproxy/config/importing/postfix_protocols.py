"""What Postfix makes of a list of TLS protocols, traps and all, and how that is written for ``tls_protocols``.

Our own reader refuses a list that Postfix would take for something else than was meant. Here it is carried over as
Postfix carries it out, and said so. The rules are those of ``tls_proto_mask_lims()`` in ``tls_misc.c``.
"""

import re
from collections.abc import Iterable

from attrs import frozen

from tlsproxy.errors import TlsProtocolsError
from tlsproxy.policy.protocols import TlsProtocols, TlsVersion

_BITS = {"sslv2": 0, "sslv3": 0x0300} | {version.label.lower(): int(version) for version in TlsVersion}
"""SSLv2 is compiled out: its bit is none, and including it includes nothing."""

_SEPARATORS = re.compile(r"[, \t\r\n:]+")
_NUMBER = re.compile(r"[+]?(?:0x)?([0-9a-f]+)", re.IGNORECASE)
_INT_MAX = 0x7FFFFFFF


@frozen
class Carried:
    """A list of protocols carried over."""

    text: str | None
    """For ``tls_protocols``; None where there is nothing that could be."""
    trap: str | None = None
    """Where Postfix does something else than what stands there."""


def carried(text: str) -> Carried:
    """A value of ``smtpd_tls_protocols``, or the like, for ``tls_protocols``."""
    versions = postfix_versions(text)
    if versions is None:
        return Carried(
            None,
            "Postfix can't read this list and turns TLS off, whatever the rest of the configuration says",
        )
    if not versions:
        return Carried(None, "allows no TLS version: every handshake with Postfix fails")
    try:
        ours = TlsProtocols.parse(text)
    except TlsProtocolsError as error:
        names = " ".join(version.label for version in sorted(versions))
        return Carried(
            written(versions),
            f"Postfix accepts {names}, which may not be what was meant. To tlsproxy, {error}",
        )
    return Carried(written(versions) if ours.warnings or not text else text)


def written(versions: Iterable[TlsVersion]) -> str:
    """The shortest list that allows these versions, at least one."""
    allowed = sorted(versions)
    lowest, highest = allowed[0], allowed[-1]
    if len(allowed) == 1:
        return lowest.label
    if allowed != [version for version in TlsVersion if lowest <= version <= highest]:
        return " ".join(version.label for version in allowed)
    ceiling = "" if highest is max(TlsVersion) else f", <={highest.label}"
    return f">={lowest.label}{ceiling}"


def postfix_versions(text: str) -> frozenset[TlsVersion] | None:
    """The versions that Postfix accepts with this list; None for a list that it can't read."""
    included: set[int] = set()
    excluded: set[int] = set()
    bounds = {">=": 0, "<=": 0}
    for element in filter(None, _SEPARATORS.split(text)):
        operator = element[:2]
        if operator in bounds:
            number = _bound(element[2:])
            if number is None:
                return None
            bounds[operator] = number
            continue
        name = element.removeprefix("!").lower()
        if name not in _BITS:
            return None
        (excluded if element.startswith("!") else included).add(_BITS[name])
    included.discard(0)
    floor, ceiling = map(_as_openssl_sets, (bounds[">="], bounds["<="]))
    return frozenset(
        version
        for version in TlsVersion
        if version >= floor
        and (not ceiling or version <= ceiling)
        and (not included or version in included)
        and version not in excluded
    )


def _bound(value: str) -> int | None:
    """The number of a bound; None for one that isn't valid. ``>=`` alone is 0, no bound."""
    name = value.lower()
    if name in ("", "none"):
        return 0
    if name in _BITS:
        return _BITS[name] or None
    match = _NUMBER.fullmatch(value)
    number = int(match[1], 16) if match is not None else _INT_MAX + 1
    return number if number <= _INT_MAX else None


def _as_openssl_sets(number: int) -> int:
    """A bound that OpenSSL doesn't know isn't set, and Postfix doesn't look (``tls_server.c``)."""
    return number if 0x0300 <= number <= max(TlsVersion) else 0
