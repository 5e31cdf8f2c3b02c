"""However a stream is split, its lines are those between its LFs, each once, and one above the limit is told once, too."""

from tests.fuzz.inputs import pieces, taken
from tlsproxy.fronts.lines import TOO_LONG, LineBuffer

MAX_SIZE = 64
TOKENS = (b"\r\n", b"\n", b"AUTH ", b"auth ")


def one_input(data: bytes) -> None:
    """See the module."""
    (limit, *sizes), stream = taken(data, 3)
    buffer = LineBuffer()
    found: list[bytes] = []
    for piece in pieces(stream, bytes(sizes)):
        buffer.feed(piece)
        while True:
            begins = buffer.starts_with(b"AUTH ")
            line = buffer.next_line(limit)
            if line is None:
                break
            assert line is TOO_LONG or begins == (line[:5].upper() == b"AUTH ")
            found.append(line)
    *whole, last = stream.split(b"\n")
    expected = [line + b"\n" if len(line) < limit else TOO_LONG for line in whole]
    if len(last) > limit:
        expected.append(TOO_LONG)
        last = b""
    assert found == expected, (found, expected)
    assert buffer.held == len(last)
    assert buffer.take_all() == last
