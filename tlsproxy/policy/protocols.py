"""``tls_protocols``: the TLS versions allowed, in the language of Postfix's ``smtpd_tls_protocols``.

A value is a list of elements, separated by any run of commas, colons and white space:

``NAME``
    includes a version. Where there is an inclusion, a version that none includes is excluded.
``!NAME``
    excludes a version, whatever else includes it.
``>=V``, ``<=V``
    lower and upper bound. V is a name, a hexadecimal number (``301``, ``0301`` and ``0x301`` are TLSv1), or
    ``None`` or 0 for no bound.

Names are ``SSLv2 SSLv3 TLSv1 TLSv1.1 TLSv1.2 TLSv1.3`` in any case. A version is allowed when the bounds
*and* the inclusions *and* the exclusions allow it; an empty list allows every version that the library has.

The rules are those of postconf(5) and of ``tls_proto_mask_lims()`` in Postfix's ``tls_misc.c``. Where Postfix
goes on with something other than what was meant, this is an error instead:

- ``>= TLSv1.2`` is to Postfix the empty bound ``>=`` and the inclusion ``TLSv1.2``.
- A list that allows nothing (``>=TLSv1.3, <=TLSv1.2``) fails every handshake; ``SSLv2`` alone allows all.
- A lower bound that the library doesn't know (``>=0305``) isn't set by OpenSSL, silently: it fails open.
  ``>=SSLv3`` is such a bound too; it would come to ``>=TLSv1``, and that is what should be written.
- ``>=771``: numbers are hexadecimal, and no TLS version has the number 0x771.
- An unknown name voids Postfix's whole list.

Three things are followed, with a warning: an upper bound above what the library knows sets no bound
(postconf(5)), the last of several upper or lower bounds counts, and including SSLv2 or SSLv3, which the
library lacks, adds nothing.
"""

import re
from difflib import get_close_matches
from enum import IntEnum
from itertools import zip_longest

from attrs import Factory, define, field, frozen, validators

from tlsproxy.errors import TlsProtocolsError


class TlsVersion(IntEnum):
    """The TLS versions that the library has, by their number on the wire (RFC 8446 §4.2.1)."""

    TLS1_0 = 0x0301
    TLS1_1 = 0x0302
    TLS1_2 = 0x0303
    TLS1_3 = 0x0304

    @property
    def label(self) -> str:
        """The name that ``SSL_get_version(3)`` gives it: ``TLSv1``, ``TLSv1.1`` …"""
        return _LABELS[self]


_LABELS = {
    TlsVersion.TLS1_0: "TLSv1",
    TlsVersion.TLS1_1: "TLSv1.1",
    TlsVersion.TLS1_2: "TLSv1.2",
    TlsVersion.TLS1_3: "TLSv1.3",
}

_SSL2, _SSL3 = 0x0002, 0x0300
_NAMES = {"SSLv2": _SSL2, "SSLv3": _SSL3} | {label: int(version) for version, label in _LABELS.items()}
_BY_LOWER_NAME = {name.lower(): number for name, number in _NAMES.items()}
_NAME_OF = {number: name for name, number in _NAMES.items()}
_LOWEST, _HIGHEST = min(TlsVersion), max(TlsVersion)


@frozen
class TlsProtocols:
    """A value of ``tls_protocols``. Two are equal when they allow the same versions."""

    text: str = field(eq=False)
    """As the operator wrote it."""
    versions: frozenset[TlsVersion] = field(validator=validators.min_len(1))
    """The versions allowed; never empty."""
    warnings: tuple[str, ...] = field(default=(), eq=False)
    """What is valid, but may not do what its author thinks."""

    @classmethod
    def parse(cls, text: str) -> "TlsProtocols":
        """Read a list as the module's documentation says.

        :raises TlsProtocolsError: The list isn't valid, or allows nothing. The message names every element at
            fault and what would be valid.
        """
        elements = [element for element in _SEPARATORS.split(text) if element]
        reading = _Reading()
        problems = []
        for element, following in zip_longest(elements, elements[1:], fillvalue=""):
            try:
                reading.add(element, following)
            except TlsProtocolsError as error:
                problems.append(str(error))
        if problems:
            value = "" if elements == [text] else f"{text!r}: "
            raise TlsProtocolsError(f"{value}{'; '.join(problems)}; the versions are {' '.join(_NAMES)}")
        versions = reading.allowed()
        if not versions:
            raise TlsProtocolsError(f"{text!r} allows no TLS version: {reading.why_nothing()}")
        return cls(text, versions, reading.all_warnings())

    @property
    def minimum(self) -> TlsVersion:
        """The lowest version allowed."""
        return min(self.versions)

    @property
    def maximum(self) -> TlsVersion:
        """The highest version allowed."""
        return max(self.versions)

    @property
    def excluded(self) -> frozenset[TlsVersion]:
        """Versions between ``minimum`` and ``maximum`` that aren't allowed: they need ``OP_NO_*``."""
        between = frozenset(version for version in TlsVersion if self.minimum < version < self.maximum)
        return between - self.versions

    @property
    def reaches_below_tls12(self) -> bool:
        """Whether TLS 1.0 or 1.1 is allowed, which OpenSSL does at cipher security level 0 only."""
        return self.minimum < TlsVersion.TLS1_2

    def allows(self, version: int) -> bool:
        """Whether a connection may use the version with this number, as ``SSL_version(3)`` returns it."""
        return version in self.versions

    def __str__(self) -> str:
        return " ".join(version.label for version in sorted(self.versions))


# Postfix's CHARS_COMMA_SP and the colon. Any other white space is part of an element, and so an error.
_SEPARATORS = re.compile(r"[, \t\r\n:]+")

# What strtoul(3) takes in base 16, without a minus sign: Postfix refuses the huge number that one would give.
_NUMBER = re.compile(r"\+?(?:0x)?([0-9a-f]+)", re.IGNORECASE)

_UNBOUNDED = 0
"""OpenSSL's number for a bound that isn't set."""


@define
class _Reading:
    """What the elements read so far say."""

    included: set[int] = Factory(set)
    excluded: set[int] = Factory(set)
    bounds: dict[str, int] = Factory(dict)
    """By operator, ``>=`` and ``<=``."""
    warnings: list[str] = Factory(list)

    def add(self, element: str, following: str) -> None:
        """Take one element in; ``following`` is the next one, for the message about white space."""
        operator = element[:2]
        if operator in (">=", "<="):
            self._bound(operator, _bound_number(element, following))
        elif element.startswith("!"):
            self.excluded.add(_name_number(element, element[1:]))
        else:
            self.included.add(_name_number(element, element))

    def _bound(self, operator: str, number: int) -> None:
        if operator == "<=" and number > _HIGHEST:
            self.warnings.append(
                f"'<={number:04x}' sets no bound: the highest version the library knows is {_HIGHEST.label}"
            )
        if self.bounds.get(operator, number) != number:
            self.warnings.append(f"more than one '{operator}' bound: the last one counts")
        self.bounds[operator] = number

    def allowed(self) -> frozenset[TlsVersion]:
        floor = self.bounds.get(">=", _UNBOUNDED)
        ceiling = self.bounds.get("<=", _UNBOUNDED) or _HIGHEST
        return frozenset(
            version
            for version in TlsVersion
            if floor <= version <= ceiling
            and (not self.included or version in self.included)
            and version not in self.excluded
        )

    def why_nothing(self) -> str:
        """Why no version is allowed."""
        floor = self.bounds.get(">=", _UNBOUNDED)
        ceiling = self.bounds.get("<=", _UNBOUNDED) or _HIGHEST
        if floor > ceiling:
            return f"the lower bound {_NAME_OF[floor]} is above the upper bound {_NAME_OF[ceiling]}"
        if ceiling < _LOWEST or (self.included and max(self.included) < _LOWEST):
            return f"the lowest that the library has is {_LOWEST.label}"
        return "bounds, inclusions and exclusions together rule out each that the library has"

    def all_warnings(self) -> tuple[str, ...]:
        missing = sorted(number for number in self.included if number < _LOWEST)
        return (
            *self.warnings,
            *(f"'{_NAME_OF[number]}' adds nothing: the library doesn't have it" for number in missing),
        )


def _name_number(element: str, name: str) -> int:
    """The version that an inclusion or exclusion names."""
    try:
        return _BY_LOWER_NAME[name.lower()]
    except KeyError:
        raise TlsProtocolsError(f"{element!r} {_name_hint(element, name)}") from None


def _bound_number(element: str, following: str) -> int:
    """The number that a bound gives; that of an upper bound may be above what the library knows."""
    operator, value = element[:2], element[2:]
    if not value:
        is_version = following.lower() in _BY_LOWER_NAME or _NUMBER.fullmatch(following)
        after = following if is_version else TlsVersion.TLS1_2.label
        raise TlsProtocolsError(
            f"{element!r} has no version: there must be no white space between '{operator}' and the version, "
            f"write '{operator}{after}'"
        )
    number = _version_number(element, value)
    if operator == ">=" and number == _SSL3:
        raise TlsProtocolsError(f"{element!r}: the library doesn't have SSLv3, write '>={_LOWEST.label}'")
    if operator == ">=" and number > _HIGHEST:
        raise TlsProtocolsError(
            f"{element!r}: the library doesn't know this version, and would set no lower bound at all; "
            f"the highest is {_HIGHEST.label} ({_HIGHEST:04x})"
        )
    return number


def _version_number(element: str, value: str) -> int:
    """The number that a bound's ``value`` stands for: 0, or 0x0300 (SSLv3) to 0x03ff."""
    name = value.lower()
    if name == "none":
        return _UNBOUNDED
    if name == "sslv2":
        raise TlsProtocolsError(f"{element!r}: SSLv2 can't be a bound, the lowest is {_LOWEST.label}")
    if name in _BY_LOWER_NAME:
        return _BY_LOWER_NAME[name]
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise TlsProtocolsError(f"{element!r} {_name_hint(element, value)}")
    number = int(match[1], 16)
    # Every version from SSLv3 on has the major version 3 (RFC 8446 appendix D), and keeps it in TLS 1.4.
    if number != _UNBOUNDED and number >> 8 != 3:
        raise TlsProtocolsError(f"{element!r}: no TLS version has this number{_decimal_hint(match[1])}")
    return number


def _decimal_hint(digits: str) -> str:
    for version, label in _LABELS.items():
        if digits.lstrip("0") == str(int(version)):
            return f"; numbers are hexadecimal, {label} is {version:04x}"
    return f"; numbers are hexadecimal, {_LOWEST:04x} ({_LOWEST.label}) to {_HIGHEST:04x} ({_HIGHEST.label})"


_MISWRITTEN = re.compile(r"(tls|ssl)?[-_ ]?v?\.?([123])(?:[._-]?([0-3]))?\+?", re.IGNORECASE)
"""The ways that other programs write a version: ``TLS1.2``, ``TLSv1.0``, ``tls1_2``, ``TLSv12``, ``1.2``."""


def _name_hint(element: str, name: str) -> str:
    """What is wrong with a ``name`` that isn't one, and what its author may have meant."""
    meant = _meant(name)
    number = _NUMBER.fullmatch(name)
    if name.lower().lstrip("+") == "all":
        return "isn't valid: an empty list allows every version"
    if number is not None and name[0] in "+0123456789":
        instead = element.removesuffix(name) + _NAME_OF.get(int(number[1], 16), "NAME")
        return f"isn't valid: hexadecimal numbers are for bounds alone, write '{instead}'"
    if name.startswith("-"):
        return f"isn't valid: a version is excluded by '!{meant or 'NAME'}'"
    if name.startswith(("<", ">", "=")):
        return f"isn't valid: a bound is written '>={meant or 'NAME'}' or '<={meant or 'NAME'}'"
    if meant is not None:
        return f"isn't valid, did you mean '{element.removesuffix(name)}{meant}'?"
    return "isn't valid"


def _meant(name: str) -> str | None:
    """The valid name that ``name`` looks like."""
    bare = name.lstrip("+-!<>=")
    match = _MISWRITTEN.fullmatch(bare)
    if match is not None:
        family, major, minor = match.groups()
        guess = f"SSLv{major}" if (family or "").lower() == "ssl" else f"TLSv{major}"
        guess += f".{minor}" if minor not in (None, "0") else ""
        return guess if guess in _NAMES else None
    close = get_close_matches(bare.lower(), _BY_LOWER_NAME, n=1)
    return _NAME_OF[_BY_LOWER_NAME[close[0]]] if close else None
