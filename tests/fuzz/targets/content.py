"""However content is split, the same of it goes to the backend, and only its last bytes can be taken for an end of data."""

import re

from tests.fuzz.inputs import pieces, taken
from tlsproxy.fronts.content import Body, Chunk, Message
from tlsproxy.fronts.options import BareNewline

MAX_SIZE = 128
TOKENS = (
    b"\r\n.\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"..",
    b"\0",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r\n.\0",
)

_MODES = tuple(BareNewline)

_NEWLINE = re.compile(rb"\r\n|\r|\n")
_NEWLINES_AND_DOTS = re.compile(rb"[\r\n.]+")


def transferred(body: Body, content: bytes, sizes: bytes) -> tuple[bytes, bytes | None, str | None]:
    """What goes to the backend, what stands behind the content, and what that is refused for."""
    passed = behind = b""
    for piece in pieces(content, sizes):
        if body.rest is None:
            passed += body.receive(piece)
        else:
            behind += piece
    return passed, None if body.rest is None else body.rest + behind, body.refused


def ends_seen(passed: bytes) -> list[int]:
    """Where ``passed`` has an end of data for a server that takes any newline and cuts lines at NUL, in its lines."""
    lines = _NEWLINE.split(passed)
    return [number for number, line in enumerate(lines[:-1]) if line.partition(b"\0")[0] == b"."]


def one_input(data: bytes) -> None:
    """See the module."""
    (choice, *sizes), content = taken(data, 3)
    if choice >= len(_MODES):
        size = choice - len(_MODES)
        chunk = transferred(Chunk(size), content, bytes(sizes))
        assert chunk == (content[:size], content[size:] if len(content) >= size else None, None)
        return
    mode = _MODES[choice]
    passed, rest, refused = transferred(Message(mode), content, bytes(sizes))
    whole, rest_of_whole, refused_whole = transferred(Message(mode), content, b"\0")
    assert (rest, refused) == (rest_of_whole, refused_whole)
    end = (b"\r\n" + content).find(b"\r\n.\r\n")
    assert rest == (content[end + 3 :] if end >= 0 else None)
    if refused is not None:
        # What went before the offence depends on how it came.
        assert mode is BareNewline.REJECT
        assert ends_seen(passed) == ends_seen(whole) == []
        return
    assert passed == whole
    if mode is BareNewline.PASS:
        assert content.startswith(passed)
        return
    last = passed.count(b"\r\n") - 1
    assert ends_seen(passed) == ([] if rest is None else [last])
    assert passed.count(b"\r") == passed.count(b"\n") == passed.count(b"\r\n")
    if mode is BareNewline.REJECT:
        assert content.startswith(passed)
        assert len(passed) >= len(content) - 4 if rest is None else len(passed) == end + 3
    else:
        text = content if rest is None else content[: end + 3]
        assert _NEWLINES_AND_DOTS.sub(b"", text).startswith(_NEWLINES_AND_DOTS.sub(b"", passed))
