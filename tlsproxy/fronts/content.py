r"""What goes past between DATA and its end, or as a BDAT chunk: the guard against smuggling.

End of data is ``CRLF.CRLF`` and nothing else (RFC 5321 §4.1.1.4). Old servers also take ``LF.LF``, ``LF.CRLF``, ``CR.CR``
and their like for it. A message with such a sequence in it ends earlier for them than for us, and the rest of it is
commands, executed with the trust that they put in the proxy (CVE-2023-51764, -51765, -51766). So for them there must be
none:

``reject``
    A bare LF or CR refuses the message. The backend gets nothing that could be more than the message's middle: of a
    CR at the end of what came, it isn't known whether it is bare, and so it is held back.
``normalize``
    A bare newline becomes CRLF; CRs before another CR or a CRLF are one with it. Then a dot that begins a line only
    now is content, and is stuffed (RFC 5321 §4.5.2); so is one with a bare newline behind it, which would end the
    message: ``CRLF.LF``.
``pass``
    Bytes go as they came. A backend that takes ``LF.LF`` for the end executes what stands behind it.

NUL passes, as it does in Postfix. Behind a dot that begins a line it is treated as a bare newline: a server that keeps
lines as C strings sees ``.`` alone there.

A BDAT chunk is binary and ends by its count (RFC 3030 §2): there is no sequence to be found in it, and it isn't searched. A
server gets one only when it offered CHUNKING itself.
"""

import re
from typing import Final, Protocol

from tlsproxy.fronts.options import BareNewline

_END_OF_DATA: Final = b"\r\n.\r\n"

# The longest suffix that can't be judged before more comes: the beginning of an end of data, or of a line whose dot may
# have to be stuffed.
_UNDECIDED: Final = re.compile(rb"(?:\r\n(?:\.\r?)?|\r)\Z")
_UNDECIDED_TO_NORMALIZE: Final = re.compile(rb"(?:\r?\n(?:\.\r?)?|\r)\Z")
_UNDECIDED_SIZE: Final = 4

_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_OFFENCE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)|(?<=\n)\.\0")
_OFFENCES: Final = {b"\n": "bare LF", b"\r": "bare CR", b".\0": "NUL behind a dot"}

# A run of newlines; the dot behind it; what makes a bare newline of the dot's line, if it does.
_RUN: Final = re.compile(rb"([\r\n]+)(?:(\.)(?=([\0\n]|\r(?!\n)|\Z)?))?")
_NEWLINE: Final = re.compile(rb"\r*\n|\r+")


class Body(Protocol):
    """Content on its way to the backend.

    :ivar rest: None until the content is over, then the bytes received behind it.
    :ivar refused: What the content is refused for. None: nothing was found.
    """

    rest: bytes | None
    refused: str | None

    def receive(self, data: bytes) -> bytes:
        """Take bytes as they came; what of them goes to the backend. Not called once ``rest`` is there."""


class Message:
    """The content behind DATA, its end included. See :class:`Body`."""

    __slots__ = ("_bare_newline", "_held", "_skip", "_undecided", "refused", "rest")

    def __init__(self, bare_newline: BareNewline) -> None:
        self._bare_newline = bare_newline
        normalize = bare_newline is BareNewline.NORMALIZE
        self._undecided = _UNDECIDED_TO_NORMALIZE if normalize else _UNDECIDED
        # The CRLF of DATA itself is the first of an empty message's CRLF.CRLF. It isn't sent again.
        self._held = b"\r\n"
        self._skip = len(self._held)
        self.rest: bytes | None = None
        self.refused: str | None = None

    def receive(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
        end = _end_of_data(data)
        if end >= 0:
            end += len(_END_OF_DATA)
            self.rest = data[end:]
            self._held = b""
            data = data[:end]
        else:
            undecided = self._undecided.search(data[-_UNDECIDED_SIZE:])
            self._held = undecided[0] if undecided else b""
            if self._held:
                data = data[: -len(self._held)]
        return self._guarded(data)

    def _guarded(self, data: bytes) -> bytes:
        """``data`` as the backend may have it. Behind it in the stream stands what is held back."""
        if self.refused is not None:
            return b""
        if self._bare_newline is BareNewline.NORMALIZE:
            data = _normalized(data)
        elif self._bare_newline is BareNewline.REJECT and not _is_clean(data):
            offence = _OFFENCE.search(data)
            if offence is not None:
                self.refused = _OFFENCES[offence[0]]
                return b""
        if self._skip and data:
            data, self._skip = data[self._skip :], 0
        return data


class Chunk:
    """The octets behind a BDAT command. See :class:`Body`."""

    __slots__ = ("_missing", "refused", "rest")

    def __init__(self, size: int) -> None:
        self._missing = size
        self.rest: bytes | None = b"" if size == 0 else None
        self.refused: str | None = None

    def receive(self, data: bytes) -> bytes:
        missing = self._missing
        if len(data) < missing:
            self._missing = missing - len(data)
            return data
        self.rest = data[missing:]
        return data[:missing]


def _end_of_data(data: bytes) -> int:
    """Where the first end of data is; -1: nowhere. It mostly is the last as well, which is found in a third of the time."""
    last = data.rfind(_END_OF_DATA)
    if last < 0 or data.rfind(_END_OF_DATA, 0, last + len(_END_OF_DATA) - 1) < 0:
        return last
    return data.find(_END_OF_DATA)


def _is_clean(data: bytes) -> bool:
    """Whether each CR and LF is half of a CRLF, and no NUL is there. Searches in C for single bytes, 10 µs for 16 KiB.

    Where an LF stands behind each CR, and there are as many of one as of the other, a CR stands before each LF. What is
    left without them tells how many there are: ``bytes.count`` takes four times as long.
    """
    if b"\0" in data or _BARE_CR.search(data) is not None:
        return False
    return len(data.replace(b"\r", b"")) == len(data.replace(b"\n", b""))


def _normalized(data: bytes) -> bytes:
    if _is_clean(data) and not data.endswith(b"\n."):
        return data
    # CRs at the end have another one behind them, in what is held back, and are one with it. A dot that then is the
    # last byte has a bare newline behind it: before a CRLF it would be the end of data, or stand behind a bare newline.
    return _RUN.sub(_line_ends, data.rstrip(b"\r"))


def _line_ends(run: re.Match[bytes]) -> bytes:
    """The line ends as CRLFs; the dot behind them stuffed where a bare newline stands before it or behind it."""
    newlines, dot, bare = run[1], run[2] or b"", run[3]
    count = 1 if len(newlines) == 1 else len(_NEWLINE.findall(newlines))
    if dot and (bare is not None or not newlines.endswith(b"\r\n")):
        dot = b".."
    return b"\r\n" * count + dot
