"""A second reader of requests with a body, h11: what it doesn't read as the proxy does isn't forwarded.

A request without a body can't be seen as two. Of one with a body the head decides where the next request begins, and so a
slip of :mod:`tlsproxy.fronts.http_syntax` would be a hole. h11 is asked about these alone: it takes six times as long.
"""

import h11

from tlsproxy.fronts.http_syntax import Field


def agrees(line: bytes, lines: bytes, fields: list[Field]) -> bool:
    """Whether h11 reads a head as it was read.

    :param line: Its first line, without CRLF.
    :param lines: The lines of its fields, each with CRLF.
    :param fields: What was read in them.
    """
    head = b"%b\r\n%b\r\n" % (line, lines)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
    connection.receive_data(head)
    try:
        request = connection.next_event()
    except h11.RemoteProtocolError:
        return False
    return (
        isinstance(request, h11.Request)
        and not connection.trailing_data[0]
        and line == b"%b %b HTTP/%b" % (request.method, request.target, request.http_version)
        and list(request.headers) == [(name, _as_h11_has_it(name, value)) for name, _, value in fields]
    )


def _as_h11_has_it(name: bytes, value: bytes) -> bytes:
    return value.lower() if name == b"transfer-encoding" else value
