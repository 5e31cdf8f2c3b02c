"""TLSA records (RFC 6698), as a zone file or ``dig`` has them, and whether a certificate matches one.

A record's text is ``[owner] [TTL] [class] TLSA usage selector type data``, or from the usage on alone; the data is
hexadecimal, perhaps in several words. Words may stand for the numbers (RFC 7218), parentheses join lines, ``;`` begins a
comment, and ``TYPE52 \\# length data`` is the form of RFC 3597.
"""

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from hashlib import sha256, sha512
from typing import Final

from attrs import frozen

MAX_RECORDS: Final = 1000
"""In one file: ports times names times the keys that are published ahead."""


class TlsaError(ValueError):
    """A file of records isn't one; the message names the line."""


class Usage(IntEnum):
    """What of a chain a record is about (RFC 6698 §2.1.1)."""

    PKIX_TA = 0
    PKIX_EE = 1
    DANE_TA = 2
    DANE_EE = 3


class Selector(IntEnum):
    """What of a certificate (RFC 6698 §2.1.2)."""

    CERT = 0
    SPKI = 1


class Matching(IntEnum):
    """How it is compared (RFC 6698 §2.1.3)."""

    FULL = 0
    SHA2_256 = 1
    SHA2_512 = 2


_DIGESTS: Final = {Matching.SHA2_256: sha256, Matching.SHA2_512: sha512}
_LENGTHS: Final = {Matching.SHA2_256: 32, Matching.SHA2_512: 64}


@frozen
class ChainPart:
    """A certificate, as records know it."""

    certificate: bytes
    """DER."""
    public_key: bytes
    """Its SubjectPublicKeyInfo, DER."""


@frozen
class TlsaRecord:
    """One record."""

    owner: str
    """``_25._tcp.mx.example.org``, lower case and without the last dot; empty where none is given."""
    usage: Usage
    selector: Selector
    matching: Matching
    data: bytes

    @property
    def host(self) -> str:
        """The owner without port and protocol."""
        return re.sub(r"^(?:_[^.]+\.){0,2}", "", self.owner)

    def matches(self, chain: Sequence[ChainPart]) -> bool:
        """Whether it is about this chain, the server's own certificate first.

        Whether public authorities vouch for the chain, which usages 0 and 1 ask for as well, is the client's to see.
        """
        parts = chain[:1] if self.usage in (Usage.PKIX_EE, Usage.DANE_EE) else chain[1:]
        return any(self._selects(part) for part in parts)

    def _selects(self, part: ChainPart) -> bool:
        selected = part.certificate if self.selector is Selector.CERT else part.public_key
        digest = _DIGESTS.get(self.matching)
        return (selected if digest is None else digest(selected).digest()) == self.data


def parse_tlsa(text: str) -> tuple[TlsaRecord, ...]:
    """The records in ``text``.

    :raises TlsaError: A line is none, or there are too many.
    """
    records: list[TlsaRecord] = []
    owner = ""
    for number, line in _lines(text):
        try:
            record = _record(line, owner)
        except ValueError as error:
            raise TlsaError(f"line {number}: {error}") from error
        owner = record.owner
        records.append(record)
        if len(records) > MAX_RECORDS:
            raise TlsaError(f"has more than {MAX_RECORDS} records")
    return tuple(records)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each record's text, with the number of its first line. One that begins with white space has its owner left out."""
    joined, begin = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition(";")[0].rstrip()
        if not joined:
            begin = number
        joined = f"{joined} {line}" if joined else line
        if joined.count("(") > joined.count(")"):
            continue
        if joined.strip():
            yield begin, re.sub(r"[()]", " ", joined)
        joined = ""
    if joined.strip():
        raise TlsaError(f"line {begin}: a parenthesis isn't closed")


def _record(line: str, last_owner: str) -> TlsaRecord:
    words = line.split()
    upper = [word.upper() for word in words]
    kind = next((index for index, word in enumerate(upper) if word in ("TLSA", "TYPE52")), None)
    if kind is None:
        return _of_data("", words)
    owned = kind > 0 and not line[:1].isspace() and not _is_ttl_or_class(upper[0])
    owner = words[0].lower().removesuffix(".") if owned else last_owner
    rest = words[kind + 1 :]
    if upper[kind] == "TYPE52":
        return _of_data(owner, _generic(rest))
    return _of_data(owner, rest)


def _is_ttl_or_class(word: str) -> bool:
    return word == "IN" or re.fullmatch(r"(?:\d+[SMHDW]?)+", word) is not None


def _generic(words: Sequence[str]) -> list[str]:
    if len(words) < 3 or words[0] != "\\#":
        raise ValueError(r"TYPE52 is followed by \#, a length and hexadecimal data (RFC 3597)")
    content = _hexadecimal(words[2:])
    if words[1] != str(len(content)) or len(content) < 3:
        raise ValueError(f"the length is {words[1]}, and there are {len(content)} bytes")
    return [str(content[0]), str(content[1]), str(content[2]), content[3:].hex()]


def _of_data(owner: str, words: Sequence[str]) -> TlsaRecord:
    if len(words) < 4:
        raise ValueError(
            "isn't a TLSA record: usage, selector, matching type and data are needed (3 1 1 ab12…)"
        )
    usage, selector, matching = (
        _number(word, kind) for word, kind in zip(words, (Usage, Selector, Matching), strict=False)
    )
    data = _hexadecimal(words[3:])
    length = _LENGTHS.get(Matching(matching))
    if length is not None and len(data) != length:
        raise ValueError(f"the digest has {len(data)} bytes; one of matching type {matching:d} has {length}")
    return TlsaRecord(owner, Usage(usage), Selector(selector), Matching(matching), data)


def _number(word: str, kind: type[IntEnum]) -> int:
    for member in kind:
        if word == str(member.value) or word.upper().replace("-", "_") == member.name:
            return member.value
    valid = ", ".join(f"{member.value} ({member.name.replace('_', '-')})" for member in kind)
    raise ValueError(f'{kind.__name__.lower()} "{word}" isn\'t known; valid are {valid}')


def _hexadecimal(words: Sequence[str]) -> bytes:
    text = "".join(words)
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f'"{text[:20]}" isn\'t hexadecimal') from None
