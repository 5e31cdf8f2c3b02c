"""One question to an HTTP server, to see whether it is fit: a GET, of whose answer the status line counts."""

import re
from typing import Final

STATUS_LINE_LIMIT: Final = 4096
"""Bytes in which the status line has to end. Its reason phrase is free text (RFC 9112 §4), of a few words in practice."""

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\n]*)?\r?\n")


class HttpCheck:
    """One request, and what comes back.

    :ivar request: What to send.
    """

    __slots__ = ("_received", "request")

    def __init__(self, host: str, path: str) -> None:
        """
        :param host: For the ``Host`` field, with the port where it isn't the scheme's own.
        :param path: What to ask for; printable ASCII.
        """
        fields = (f"Host: {host}", "User-Agent: tlsproxy", "Accept: */*", "Connection: close")
        self.request = "\r\n".join((f"GET {path} HTTP/1.1", *fields, "", "")).encode("ascii")
        self._received = b""

    def receive(self, data: bytes) -> int | None:
        """Take bytes: the status code, 0 if what comes is no HTTP, None if more is needed."""
        self._received += data
        end = self._received.find(b"\n", 0, STATUS_LINE_LIMIT)
        if end < 0:
            return None if len(self._received) < STATUS_LINE_LIMIT else 0
        line = _STATUS_LINE.fullmatch(self._received[: end + 1])
        return int(line[1]) if line is not None else 0
