"""One question to an HTTP server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.fronts.http_check import STATUS_LINE_LIMIT, HttpCheck


def check() -> HttpCheck:
    return HttpCheck("web.example:8080", "/health?deep=1")


def test_the_request_names_host_and_path_and_wants_the_connection_closed() -> None:
    assert check().request == (
        b"GET /health?deep=1 HTTP/1.1\r\n"
        b"Host: web.example:8080\r\n"
        b"User-Agent: tlsproxy\r\n"
        b"Accept: */*\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.0 503 Service Unavailable\r\nServer: x\r\n\r\n", 503),
        (b"HTTP/1.1 204 \r\n", 204),
        (b"HTTP/1.1 302\r\n", 302),
        (b"HTTP/1.1 200 OK\n", 200),
        (b"HTTP/2 200\r\n", 0),
        (b"HTTP/1.1 99 x\r\n", 0),
        (b"HTTP/1.1 2000 x\r\n", 0),
        (b"220 mail.example ESMTP\r\n", 0),
        (b"\r\n", 0),
        (b"HTTP/1.1 200 OK", None),
        (b"x" * STATUS_LINE_LIMIT, 0),
        (b"HTTP/1.1 200 " + b"x" * STATUS_LINE_LIMIT + b"\n", 0),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_the_status_line_counts(answer: bytes, status: int | None, bytewise: bool) -> None:
    machine = check()
    pieces = [answer[i : i + 1] for i in range(len(answer))] if bytewise else [answer]
    results = (machine.receive(piece) for piece in pieces)
    assert next((result for result in results if result is not None), None) == status


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_whatever_comes_is_a_status_or_none(pieces: list[bytes]) -> None:
    machine = check()
    assert all(
        result is None or result == 0 or 100 <= result <= 599 for result in map(machine.receive, pieces)
    )
