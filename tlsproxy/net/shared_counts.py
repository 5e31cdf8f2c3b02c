"""The counters of :mod:`tlsproxy.policy.limits` for several processes, in memory that they share.

The memory has a slot for each process. A process writes its own slot and reads all: nobody waits for anybody, and what a
process counted that was killed is cleared by the next owner of its slot. The price is that two processes that decide at the
same moment don't see each other: a limit may be exceeded by one for each other process.

A slot is a table of counters, :data:`WAYS` to a row; a counter's row follows from a keyed hash of its name and peer, so
that nobody can choose addresses that all share one. A counter is a key and three numbers. A reader may see one half
written: the key of another, or one number older than the next. Each by itself is whole, as aligned words are. So the worst
that comes of it is one decision by a number that is over, and nothing stays wrong, since each process writes what it has
counted itself.
"""

import mmap
import os
import secrets
from hashlib import blake2b
from struct import Struct
from typing import Final

from tlsproxy.policy.limits import EVERYBODY, Taken, is_spent, window_number

WAYS: Final = 8
"""Counters in a row."""

ROWS: Final = 4096
"""Rows in a slot: 32,768 counters in 640 KiB, of which those pages take memory that were written to.

A peer whose row is full isn't counted and isn't refused, as with :data:`~tlsproxy.policy.limits.TABLE_LIMIT`. With 10,000
peers that happens to one in a hundred, with 5,000 to one in ten thousand."""

SLOTS_LIMIT: Final = 1024
"""More than there are processors, for the workers of two generations."""

NAMES_LIMIT: Final = 65_536
"""Names whose hashes are kept: four for each scope of the configuration, and reloads may bring others."""

_HEADER: Final = Struct("=8sII16s")  # what it is, slots, rows, key of the hash; then a byte for each slot
_MAGIC: Final = b"tlscount"
_STATES: Final = _HEADER.size
_SLOTS: Final = 4096  # where they begin
_UNUSED, _IN_USE, _USED_BEFORE = 0, 1, 2

_ROW_KEYS: Final = Struct(f"={WAYS}Q")
_NUMBERS: Final = 3  # of a counter, of 32 bits each: what it counts, how many, how many in the minute before
_ROW_SIZE: Final = _ROW_KEYS.size + WAYS * _NUMBERS * 4

# A counter's first number is that of a minute, or one of these two.
_PEERS_PLACES: Final = 0xFFFF_FFFF
_EVERYBODYS_PLACES: Final = 0xFFFF_FFFE

_PRIME: Final = 2**130 - 5  # above every peer's number


class SharedCounts:
    """See :class:`~tlsproxy.policy.limits.Counts`. Made in the process that owns the slot, after any fork."""

    __slots__ = (
        "_factor",
        "_keys",
        "_map",
        "_names",
        "_numbers",
        "_others",
        "_rows",
        "_slot",
        "_slots",
        "_states",
        "_window",
    )

    @staticmethod
    def create(slots: int, *, rows: int = ROWS) -> int:
        """Make the memory.

        :param slots: Processes that may use it at a time, at most :data:`SLOTS_LIMIT`.
        :param rows: See :data:`ROWS`.
        :returns: A file descriptor, closed over exec unless it is passed on. The memory is gone when neither a duplicate of
            it is open nor an object uses it.
        """
        if not 0 < slots <= SLOTS_LIMIT:
            raise ValueError(f"{slots} slots")
        fd = os.memfd_create("tlsproxy-counts")
        os.ftruncate(fd, _SLOTS + slots * rows * _ROW_SIZE)
        os.pwrite(fd, _HEADER.pack(_MAGIC, slots, rows, secrets.token_bytes(16)), 0)
        return fd

    def __init__(self, fd: int, slot: int) -> None:
        """Become the owner of a slot, and clear it: whoever had it is gone.

        :param fd: From :meth:`create`. It may be closed afterwards.
        :param slot: From 0. No other process that runs has it.
        :raises ValueError: ``fd`` isn't such memory, or has no such slot.
        """
        header = os.pread(fd, _HEADER.size, 0)
        if not header.startswith(_MAGIC):
            raise ValueError("not the memory of counts")
        slots: int
        rows: int
        key: bytes
        _, slots, rows, key = _HEADER.unpack(header)
        if not 0 <= slot < slots:
            raise ValueError(f"slot {slot} of {slots}")
        self._map = mmap.mmap(fd, _SLOTS + slots * rows * _ROW_SIZE)
        self._keys = memoryview(self._map).cast("Q")
        self._numbers = memoryview(self._map).cast("I")
        self._slots, self._rows = slots, rows
        self._slot = _SLOTS + slot * rows * _ROW_SIZE
        self._factor = int.from_bytes(key, "big") | 1
        self._names: dict[str, int] = {}
        self._window = 0
        self._states = b""
        self._others: tuple[int, ...] = ()
        self._clear(slot)

    def _clear(self, slot: int) -> None:
        state = _STATES + slot
        if self._map[state] != _UNUSED:
            self._map[state] = _USED_BEFORE  # for those who read meanwhile
            size = self._rows * _ROW_SIZE
            self._map[self._slot : self._slot + size] = bytes(size)
        self._map[state] = _IN_USE

    def take(self, name: str, peer: int, limit: int) -> Taken:
        """See :class:`~tlsproxy.policy.limits.Counts`, as for all methods."""
        key, row = self._place_of(name, peer)
        kind = _EVERYBODYS_PLACES if peer == EVERYBODY else _PEERS_PLACES
        own = self._find(self._slot, key, row)
        taken = self._numbers[own + 1] if own else 0
        for other in self._other_slots():
            found = self._find(other, key, row)
            if found:
                taken += self._numbers[found + 1]
        if taken >= limit:
            return Taken.REFUSED
        own = own or self._make(key, row, kind)
        if not own:
            return Taken.UNCOUNTED
        self._numbers[own + 1] += 1
        return Taken.COUNTED

    def give_back(self, name: str, peer: int) -> None:
        own = self._find(self._slot, *self._place_of(name, peer))
        if own and self._numbers[own + 1]:
            self._numbers[own + 1] -= 1

    def spend(self, name: str, peer: int, limit: int, now: float) -> bool:
        window = self._window = window_number(now)
        key, row = self._place_of(name, peer)
        own = self._find(self._slot, key, row)
        current, previous = self._rate(own, window) if own else (0, 0)
        own_current, own_previous = current, previous
        for other in self._other_slots():
            found = self._find(other, key, row)
            if found:
                of_other = self._rate(found, window)
                current += of_other[0]
                previous += of_other[1]
        if is_spent(current, previous, limit, now):
            return False
        own = own or self._make(key, row, window)
        if own:
            self._numbers[own] = window
            self._numbers[own + 1] = own_current + 1
            self._numbers[own + 2] = own_previous
        return True

    def _rate(self, counter: int, window: int) -> tuple[int, int]:
        """What came in the minute ``window``, and in the one before."""
        counted = self._numbers[counter]
        if counted == window:
            return self._numbers[counter + 1], self._numbers[counter + 2]
        return 0, self._numbers[counter + 1] if counted == window - 1 else 0

    # Where a counter is

    def _place_of(self, name: str, peer: int) -> tuple[int, int]:
        """The key of a counter, and its row. Linear in the peer, with secret coefficients: as few collisions as by chance,
        whoever chooses the peers (Carter and Wegman, 1979)."""
        offset = self._names.get(name)
        if offset is None:
            offset = self._add_name(name)
        number = (peer * self._factor + offset) % _PRIME
        return number >> 66 | 1, number % self._rows

    def _add_name(self, name: str) -> int:
        if len(self._names) >= NAMES_LIMIT:
            self._names.clear()
        digest = blake2b(name.encode(), digest_size=16, key=self._factor.to_bytes(17, "big")).digest()
        offset = self._names[name] = int.from_bytes(digest, "big")
        return offset

    def _find(self, slot: int, key: int, row: int) -> int:
        """Where a counter's numbers are in a slot; 0 where it isn't there."""
        keys: tuple[int, ...] = _ROW_KEYS.unpack_from(self._map, slot + row * _ROW_KEYS.size)
        return self._numbers_at(slot, row, keys.index(key)) if key in keys else 0

    def _numbers_at(self, slot: int, row: int, way: int) -> int:
        return (slot + self._rows * _ROW_KEYS.size >> 2) + (row * WAYS + way) * _NUMBERS

    def _make(self, key: int, row: int, kind: int) -> int:
        """Give a counter room in our slot, the numbers before the key that others look for. 0: there is none."""
        room = self._room(row, everybody=kind == _EVERYBODYS_PLACES)
        if room is None:
            return 0
        numbers = self._numbers_at(self._slot, row, room)
        key_at = (self._slot >> 3) + row * WAYS + room
        self._keys[key_at] = 0
        self._numbers[numbers] = kind
        self._numbers[numbers + 1] = self._numbers[numbers + 2] = 0
        self._keys[key_at] = key
        return numbers

    def _room(self, row: int, *, everybody: bool) -> int | None:
        keys = _ROW_KEYS.unpack_from(self._map, self._slot + row * _ROW_KEYS.size)
        counters = [self._numbers_at(self._slot, row, way) for way in range(WAYS)]
        for way, key in enumerate(keys):
            if not key or self._is_over(counters[way]):
                return way
        if everybody:  # that counter has to be there: a peer's gives way
            kinds = [self._numbers[counter] for counter in counters]
            return next((way for way, kind in enumerate(kinds) if kind != _EVERYBODYS_PLACES), None)
        return None

    def _is_over(self, counter: int) -> bool:
        kind = self._numbers[counter]
        if kind == _PEERS_PLACES:
            return not self._numbers[counter + 1]
        return kind != _EVERYBODYS_PLACES and abs(self._window - kind) > 1

    def _other_slots(self) -> tuple[int, ...]:
        """Where the slots of other processes begin."""
        states = self._map[_STATES : _STATES + self._slots]
        if states != self._states:
            self._states = states
            size = self._rows * _ROW_SIZE
            in_use = [_SLOTS + slot * size for slot, state in enumerate(states) if state == _IN_USE]
            self._others = tuple(each for each in in_use if each != self._slot)
        return self._others
