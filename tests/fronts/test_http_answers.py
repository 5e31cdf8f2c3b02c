"""Tests for :mod:`tlsproxy.fronts.http_answers`."""

from datetime import UTC, datetime, timedelta, timezone

import h11
import pytest

from tlsproxy.fronts.http_answers import REASONS, answer, date_field, explanation

NOON = datetime(2026, 11, 23, 13, 0, 0, tzinfo=timezone(timedelta(hours=1)))


def test_a_date_is_in_greenwich() -> None:
    assert date_field(NOON) == date_field(NOON.astimezone(UTC)) == b"Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"


def test_an_answer_is_whole() -> None:
    assert answer(200, b"text", now=NOON, fields=b"A: b\r\n", media_type=b"c/d") == (
        b"HTTP/1.1 200 OK\r\n"
        b"Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
        b"Content-Type: c/d\r\n"
        b"Content-Length: 4\r\n"
        b"A: b\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"text"
    )


def test_an_answer_to_head_has_the_length_alone() -> None:
    data = answer(200, b"text", now=NOON, head=True, close=False)
    assert b"Content-Length: 4\r\n" in data
    assert data.endswith(b"\r\n\r\n")
    assert b"Connection" not in data


@pytest.mark.parametrize("status", REASONS)
def test_every_status_makes_a_response_that_h11_reads(status: int) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.receive_data(answer(status, explanation(status, "why"), now=NOON))
    head, body = client.next_event(), client.next_event()
    assert isinstance(head, h11.Response)
    assert isinstance(body, h11.Data)
    assert (head.status_code, bytes(body.data)) == (status, b"%d %b: why\n" % (status, REASONS[status]))
