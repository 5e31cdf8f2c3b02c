"""How a fuzzer's bytes are read: a few that decide, and behind them what the program is given."""

from collections.abc import Iterator
from itertools import cycle


def taken(data: bytes, count: int) -> tuple[bytes, bytes]:
    """``count`` bytes that decide, as many zeros as are missing, and the rest."""
    return data[:count].ljust(count, b"\0"), data[count:]


def pieces(data: bytes, decisions: bytes) -> Iterator[bytes]:
    """``data`` in pieces of as many bytes as ``decisions`` say, again and again; 0 is all that is left."""
    sizes, rest = cycle(decisions), data
    while rest:
        size = next(sizes) or len(rest)
        yield rest[:size]
        rest = rest[size:]
