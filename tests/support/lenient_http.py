"""Servers as lenient as any that a proxy may stand in front of: how each reads a stream of requests."""

import re
from itertools import product

from attrs import frozen

_LF = re.compile(rb"\r?\n")


@frozen
class LenientHttp:
    """A reader of requests that repairs what it gets, in one of many ways."""

    prefers_length: bool
    """Where there are both, ``Content-Length`` says where the body ends."""
    first_wins: bool
    """Of two equal names, it is the first that counts."""
    by_cgi: bool
    """``Content_Length`` is ``Content-Length``."""
    any_coding: bool
    """``Transfer-Encoding`` is chunked when the word is in it."""
    reads_all_bodies: bool
    """Otherwise the body of a request that isn't POST is left where it is, for a request."""

    def requests(self, stream: bytes) -> list[bytes]:
        """The first lines of all requests in what came by one connection."""
        lines: list[bytes] = []
        while stream:
            end = re.search(rb"\r?\n\r?\n", stream)
            if end is None:
                return [*lines, b"(cut short)"]
            first, *fields = _LF.split(re.sub(rb"\r?\n[ \t]+", b" ", stream[: end.start()].lstrip(b"\r\n")))
            lines.append(first)
            values = self._values(fields)
            rest = self._behind_body(first, values, stream[end.end() :])
            if rest is None or b"close" in values.get(b"connection", b"").lower():
                return lines
            stream = rest
        return lines

    def _values(self, fields: list[bytes]) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        for field in fields:
            name, _, value = field.partition(b":")
            name = name.strip().lower()
            if self.by_cgi:
                name = re.sub(rb"[^a-z0-9]", b"-", name)
            if not (self.first_wins and name in values):
                values[name] = value.strip(b" \t\v\f\0")
        return values

    def _behind_body(self, first: bytes, values: dict[bytes, bytes], rest: bytes) -> bytes | None:
        """None: the body isn't over."""
        if not (self.reads_all_bodies or first.startswith(b"POST")):
            return rest
        coding = values.get(b"transfer-encoding", b"").lower()
        chunked = b"chunked" in coding if self.any_coding else coding == b"chunked"
        length = re.match(rb"\+?([0-9]+)", values.get(b"content-length", b""))
        if length is not None and (self.prefers_length or not chunked):
            return rest[int(length[1]) :] if len(rest) >= int(length[1]) else None
        return self._behind_chunks(rest) if chunked else rest

    def _behind_chunks(self, rest: bytes) -> bytes | None:
        while (line := re.match(rb"\s*(?:0x)?([0-9A-Fa-f]+)[^\n]*\n", rest)) is not None:
            size = int(line[1], 16)
            rest = rest[line.end() :]
            if not size:
                end = re.search(rb"(?:\A|\n)\r?\n", rest)
                return None if end is None else rest[end.end() :]
            rest = rest[size:]
        return None


SERVERS = [LenientHttp(*each) for each in product([True, False], repeat=5)]
