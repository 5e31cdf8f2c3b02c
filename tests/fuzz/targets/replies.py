"""However a backend's bytes are split, its replies are the same, each a run of whole lines; nothing is lost or added."""

import re
from unittest.mock import patch

from tests.fuzz.inputs import pieces, taken
from tlsproxy.fronts import replies
from tlsproxy.fronts.replies import MALFORMED, Reply, ReplyReader

MAX_SIZE = 128
TOKENS = (b"220 ", b"250-", b"250 ", b"354", b"421 ", b"\r\n", b"\n", b"250")

_BARE_LF = re.compile(rb"(?<!\r)\n")

LIMIT = 64
"""In place of ``REPLY_LIMIT``, which no input of a fuzzer's reaches."""


def read(stream: bytes, sizes: bytes) -> tuple[list[Reply], bool]:
    """The replies in ``stream``, and whether they end with what is none."""
    reader = ReplyReader()
    found = []
    for piece in pieces(stream, sizes):
        reader.feed(piece)
        while (reply := reader.next_reply()) is not None:
            if reply.code == MALFORMED:
                return found, True
            found.append(reply)
    return found, False


def one_input(data: bytes) -> None:
    """See the module."""
    sizes, stream = taken(data, 2)
    with patch.object(replies, "REPLY_LIMIT", LIMIT):
        found, malformed = read(stream, sizes)
        assert (found, malformed) == read(stream, b"\0")
    for reply in found:
        lines = reply.data.split(b"\r\n")
        assert lines.pop() == b""
        assert b"\n" not in b"".join(lines)
        assert len(reply.data) - len(lines) <= LIMIT
        assert {line[3:4] for line in lines[:-1]} <= {b"-"}
        assert lines[-1][3:4] in (b"", b" ")
        assert reply.code == int(lines[-1][:3])
        assert len(reply.texts) == len(lines)
        assert reply.positive + reply.intermediate + reply.negative == 1
    said = b"".join(reply.data for reply in found)
    rest = _crlf(stream).removeprefix(said)
    assert len(said) + len(rest) == len(_crlf(stream))
    if not malformed:
        *begun, _ = rest.split(b"\r\n")
        assert all(line[3:4] == b"-" for line in begun)


def _crlf(stream: bytes) -> bytes:
    return _BARE_LF.sub(b"\r\n", stream)
