"""However TLS records are split and however many are taken at a time, each is counted once, where it ends."""

from tests.fuzz.inputs import pieces, taken
from tlsproxy.tls.records import HEADER_SIZE, MAX_FRAGMENT, RecordCounter

MAX_SIZE = 128
TOKENS = (
    b"\x16\x03\x01\x00\x01",
    b"\x17\x03\x03\x00\x02ab",
    b"\x14\x03\x03\x00\x00",
    b"\x15\x03",
    b"\x48\x00",
    b"\x48\x01",
)


def ends_in(stream: bytes) -> tuple[list[int], bool]:
    """Where records end, and whether what follows them is none."""
    ends: list[int] = []
    at = 0
    while len(stream) - at >= HEADER_SIZE:
        kind, major, length = stream[at], stream[at + 1], int.from_bytes(stream[at + 3 : at + 5])
        if not (20 <= kind <= 23 and major == 3 and length <= MAX_FRAGMENT):
            return ends, True
        if len(stream) - at - HEADER_SIZE < length:
            break
        at += HEADER_SIZE + length
        ends.append(at)
    return ends, False


def one_input(data: bytes) -> None:
    """See the module."""
    (limit, *sizes), stream = taken(data, 3)
    limit = limit % 5 + 1
    ends, malformed = ends_in(stream)
    counter = RecordCounter()
    fed = counted = 0
    for piece in pieces(stream, bytes(sizes)):
        position = 0
        while position < len(piece) and not counter.lost:
            stopped, complete = counter.take(piece, position, limit)
            assert position < stopped <= len(piece) or counter.lost
            assert complete <= limit
            new = ends[counted : counted + complete]
            counted += complete
            assert len(new) == complete
            assert all(fed + position < end <= fed + stopped for end in new)
            assert complete < limit or fed + stopped == new[-1]
            starts = [ends[each - 1] if each else 0 for each in range(counted - complete, counted)]
            longest = max((end - start for start, end in zip(starts, new, strict=True)), default=HEADER_SIZE)
            assert counter.longest == longest - HEADER_SIZE
            position = stopped
        fed += len(piece)
    assert counted == len(ends)
    assert counter.lost == malformed
