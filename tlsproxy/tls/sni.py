"""Which certificate a client gets: by the server name that it sends (RFC 6066 §3), the first one otherwise.

Certificates of different key types for one name are served side by side, and OpenSSL takes the one that the client can
verify; such a set is a group here. A name is looked up exactly, then as a wildcard, whose ``*`` stands for one left-most
label as a whole (RFC 9525 §6.3).
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from attrs import frozen

MAX_NAME_LENGTH = 255
"""Octets in a domain name (RFC 1035 §2.3.4)."""


class Named(Protocol):
    """What certificates are to this module."""

    @property
    def key_type(self) -> str: ...

    @property
    def names(self) -> frozenset[str]: ...


NamedT = TypeVar("NamedT", bound=Named)
ServedT = TypeVar("ServedT")


def default_group(certificates: Sequence[NamedT]) -> tuple[NamedT, ...]:
    """The first certificate, and with it the first of each other key type that is good for all of its names."""
    first = certificates[0]
    fitting = [
        certificate
        for certificate in certificates[1:]
        if (first.names <= certificate.names if first.names else not certificate.names)
    ]
    return _first_of_each_type([first, *fitting])


def groups_by_name(certificates: Sequence[NamedT]) -> dict[str, tuple[NamedT, ...]]:
    """For each name, the first certificate of each key type that has it."""
    names = dict.fromkeys(name for certificate in certificates for name in sorted(certificate.names))
    return {
        name: _first_of_each_type([each for each in certificates if name in each.names]) for name in names
    }


def _first_of_each_type(certificates: Sequence[NamedT]) -> tuple[NamedT, ...]:
    by_type: dict[str, NamedT] = {}
    for certificate in certificates:
        by_type.setdefault(certificate.key_type, certificate)
    return tuple(by_type.values())


@frozen
class NameMap(Generic[ServedT]):
    """What is served under which name."""

    default: ServedT
    by_name: dict[str, ServedT]
    """Lower case; a wildcard as written, ``*.example.org``."""

    def find(self, name: bytes | None) -> ServedT:
        """What to serve to a client that sent ``name``. Never raises: a name that can't be one gets the default."""
        found = self.get(name)
        return self.default if found is None else found

    def get(self, name: bytes | None) -> ServedT | None:
        """What is served under ``name``; None if nothing is."""
        if name is None or len(name) > MAX_NAME_LENGTH or not name.isascii():
            return None
        # RFC 6066 wants no trailing dot; mail servers that send an MX record's name as it is have one.
        wanted = name.decode("ascii").lower().removesuffix(".")
        if wanted.startswith("*"):
            return None
        found = self.by_name.get(wanted)
        if found is None:
            _, dot, parent = wanted.partition(".")
            found = self.by_name.get(f"*.{parent}") if dot else None
        return found
