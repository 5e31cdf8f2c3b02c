"""The syntax that requests and responses share (RFC 9112 §2 and §5): heads out of a stream of bytes, however it is split.

Where two readers of the same bytes disagree, one request can be seen as two. So a line ends with CRLF here and with
nothing else, no control character is let in but the tab, and a head that isn't plainly right isn't repaired. Libraries
forgive more: h11 takes a bare LF for a line end, joins folded lines, and lets most control characters pass.

What is wrong is found as early as it can be known, and found to be the same however the bytes are split: a client that
waits behind half a head is told, not timed out.

Most heads are plain: each field is ``Name: value``, and all but a few go to the other side as they came. Such a head is
read by one regular expression, and the few are spliced out (:func:`splice`), in a tenth of the time of reading field by
field. It is plain only where reading it field by field comes to the same; whatever isn't is read so.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from tlsproxy.errors import TlsproxyError

Field = tuple[bytes, bytes, bytes]
"""A field: its name in lower case, the name as it came, the value without the white space around it."""

_CRLF: Final = b"\r\n"

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 §5.6.2

NAME_LIMIT: Final = 256
"""Bytes of a field's name: several times the longest that is registered. So names can be remembered."""

_NAME: Final = rb"[!#$%%&'*+.^_`|~0-9A-Za-z-]{1,%d}" % NAME_LIMIT

_FIELD: Final = re.compile(rb"(?m)^(%b):([^\r]*)\r\n" % _NAME)
_LENIENT_FIELD: Final = re.compile(rb"(?m)^(%b)[ \t]*:([^\r]*)\r\n" % _NAME)
_FOLD: Final = re.compile(rb"[ \t]*\r\n[ \t]+")

PLAIN_FIELDS: Final = (
    rb"(?:\r\n[!#$%%&'*+.^_`|~0-9A-Za-z-]{1,%d}+: (?![ \t])[\t -~\x80-\xff]*+(?<![ \t]))++" % NAME_LIMIT
)
"""The fields of a plain head, each behind a CRLF: nothing in them that :func:`parse_fields` would take out or refuse. No
quantifier gives back what it took, so that no head takes more than one pass."""

_NAMES: Final = re.compile(rb"\r\n([^:]++)")

OF_ONE_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that aren't sent on (RFC 9110 §7.6.1)."""

OF_PERSISTENCE: Final = frozenset({b"close", b"keep-alive"})
"""Options of ``Connection`` that name no field: the field ``Keep-Alive`` isn't sent on anyway."""

# RFC 9110 §5.5 with obs-text, which cookies are known to hold.
_IN_LINE: Final = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
_IN_FIELDS: Final = b"\r\n" + _IN_LINE


class HttpError(TlsproxyError):
    """A message can't be taken as it is.

    :ivar status: What a client is told of a request.
    :ivar detail: What is wrong, without a byte of the message in it.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class HeadBuffer:
    """Bytes received and not dealt with yet.

    The buffer itself has no limit: who holds bytes back in it has to pause their sender.

    :ivar data: They. To be looked at: it is cheaper than a call.
    """

    __slots__ = ("_clean", "data")

    def __init__(self) -> None:
        self.data = b""
        self._clean = (
            0  # bytes that hold neither the end looked for nor anything forbidden, so as to be searched once
        )

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self.data = self.data + data if self.data else data

    def match_fresh(self, head: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """What is there, if it begins with this head. Looked for only once: None where it was looked at before."""
        return head.match(self.data) if not self._clean else None

    def drop(self, size: int) -> None:
        """Forget the first ``size`` bytes."""
        self.data = self.data[size:]
        self._clean = 0

    def take_all(self) -> bytes:
        """Everything that is there."""
        data, self.data = self.data, b""
        self._clean = 0
        return data

    def next_line(self, limit: int, too_long: int) -> bytes | None:
        """The next line without its CRLF; None while it isn't whole.

        :param limit: Bytes that it may have.
        :param too_long: Status for a longer one.
        :raises HttpError: It is too long, or has a control character or a bare CR or LF in it.
        """
        data = self.data
        end = data.find(_CRLF, max(self._clean - 1, 0), limit + len(_CRLF))
        if end < 0:
            self._check_part(limit, _IN_LINE)
            if len(data) >= limit + len(_CRLF):
                raise HttpError(too_long, "the first line is too long")
            return None
        line = data[:end]
        if line.translate(None, _IN_LINE):
            raise _forbidden()
        self.drop(end + len(_CRLF))
        return line

    def next_fields(self, limit: int) -> bytes | None:
        """The lines up to an empty one, each with its CRLF, without the empty one; None while they aren't whole.

        :param limit: Bytes that they may have, with the empty line.
        :raises HttpError: They are too long, or have a control character or a bare CR or LF in them.
        """
        data = self.data
        if data.startswith(_CRLF):
            self.drop(len(_CRLF))
            return b""
        end = data.find(_CRLF + _CRLF, max(self._clean - 3, 0), limit)
        if end < 0:
            self._check_part(limit, _IN_FIELDS)
            if len(data) > limit:
                raise HttpError(431, "the header is too long")
            return None
        fields = data[: end + len(_CRLF)]
        if not _is_clean(fields):
            raise _forbidden()
        self.drop(end + 2 * len(_CRLF))
        return fields

    def _check_part(self, limit: int, allowed: bytes) -> None:
        """Look at what came since the last time; a CR at the end may become a CRLF."""
        part = self.data[self._clean : limit]
        if part.endswith(b"\r") and self.data[limit : limit + 1] in (b"", b"\n"):
            part = part[:-1]
        if part.translate(None, allowed) or (allowed is _IN_FIELDS and not _is_clean(part)):
            raise _forbidden()
        self._clean += len(part)


def _is_clean(lines: bytes) -> bool:
    """Whether lines hold nothing forbidden, and no CR or LF but in CRLF."""
    ends = lines.count(_CRLF)
    return not lines.translate(None, _IN_FIELDS) and lines.count(b"\n") == ends == lines.count(b"\r")


def _forbidden() -> HttpError:
    return HttpError(400, "a control character, or a bare CR or LF")


def splice(
    fields: bytes, special: re.Pattern[bytes], is_plain: Callable[[bytes], bool]
) -> tuple[bytes, dict[bytes, bytes]] | None:
    """Take some fields out of those of a plain head.

    :param fields: What matched :data:`PLAIN_FIELDS`.
    :param special: Matches a field to take out, with the CRLF before it; its groups are name and value.
    :param is_plain: Whether a field of this name stays.
    :returns: Those that stay, and by names in lower case the values of those taken out. None where there are others than
        both, or one came twice.
    """
    kept, *taken = special.split(fields)
    values: dict[bytes, bytes] = {}
    if taken:
        kept += b"".join(taken[2::3])
        values = dict(zip(map(bytes.lower, taken[::3]), taken[1::3], strict=True))
        if 3 * len(values) != len(taken):
            return None
    return (kept, values) if all(map(is_plain, _NAMES.findall(kept))) else None


def parse_fields(lines: bytes, limit: int) -> list[Field]:
    """The fields of a request, from what :meth:`HeadBuffer.next_fields` gave.

    :param limit: How many they may be.
    :raises HttpError: There are more, or one is malformed.
    """
    matches = _FIELD.findall(lines)
    if len(matches) != lines.count(_CRLF):
        raise HttpError(400, _fault(lines))
    if len(matches) > limit:
        raise HttpError(431, "too many header fields")
    return [(name.lower(), name, value.strip(b" \t")) for name, value in matches]


def parse_lenient_fields(lines: bytes) -> list[Field]:
    """The fields of a response. Old servers fold lines, and put white space before a colon: whoever forwards such a message
    has to repair both (RFC 9112 §5.1, §5.2).

    :raises HttpError: One is malformed.
    """
    matches = _FIELD.findall(lines)
    if len(matches) != lines.count(_CRLF):
        lines = _FOLD.sub(b" ", lines)
        matches = _LENIENT_FIELD.findall(lines)
        if len(matches) != lines.count(_CRLF):
            raise HttpError(502, _fault(lines))
    return [(name.lower(), name, value.strip(b" \t")) for name, value in matches]


def _fault(lines: bytes) -> str:
    if re.search(rb"(?m)^[ \t]", lines):
        return "a folded header line"
    if re.search(rb"(?m)^%b[ \t]+:" % _TOKEN, lines):
        return "white space before the colon of a header field"
    return "a line of the header is no field"


def is_token(value: bytes) -> bool:
    """RFC 9110 §5.6.2."""
    return re.fullmatch(_TOKEN, value) is not None


def elements(value: bytes) -> list[bytes]:
    """The elements of a list (RFC 9110 §5.6.1) in lower case, which for tokens changes nothing."""
    return [element for each in value.lower().split(b",") if (element := each.strip(b" \t"))]


def connection_options(value: bytes | None) -> frozenset[bytes]:
    """What ``Connection`` asks for, in lower case.

    :param value: None where there is no such field.
    """
    if value is None:
        return _NO_OPTIONS
    return _remembered_options(value) if len(value) <= _COMMON_SIZE else frozenset(elements(value))


_NO_OPTIONS: Final = frozenset[bytes]()
_COMMON_SIZE: Final = 64  # longer ones aren't worth remembering


@lru_cache(maxsize=256)
def _remembered_options(value: bytes) -> frozenset[bytes]:
    return frozenset(elements(value))
