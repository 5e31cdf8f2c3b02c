"""Messages through :mod:`tlsproxy.fronts.esmtp`."""

import pytest

from tests.fronts.conftest import CLOSING, UNAVAILABLE, Play, connected, greeted, in_data, with_recipient
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import AbortBackend, CloseSession, PauseClient, Report
from tlsproxy.fronts.esmtp import HELD_LIMIT
from tlsproxy.fronts.events import BackendFinished, BackendLost, ClientFinished, Event, IdleTimedOut
from tlsproxy.fronts.options import BareNewline
from tlsproxy.fronts.transfer import SWALLOW_LIMIT

INTERNAL_ERROR = "421 4.3.0 proxy.example Internal mail system error, try again later"
BARE = "550 5.5.2 Error: bare <LF> or <CR> received"


def in_chunk(playbook: Playbook, size: int = 10) -> Playbook:
    """A chunk was announced, of which nothing has come."""
    with_recipient(playbook) >> client(f"BDAT {size} LAST") << to_backend(f"BDAT {size} LAST")
    return playbook


# DATA


def test_a_message_passes_and_the_backend_answers(play: Play) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client("Subject: x", "") << to_backend(b"Subject: x\r\n")
    playbook >> client("..", "text") << to_backend(b"\r\n..\r\ntext")
    playbook >> client(".") << to_backend(b"\r\n.\r\n")
    playbook >> backend("250 2.0.0 queued as 5F") << to_client("250 2.0.0 queued as 5F")


def test_what_looks_like_a_command_in_a_message_is_none(play: Play) -> None:
    playbook = in_data(greeted(play()))
    (
        playbook
        >> client("XCLIENT ADDR=127.0.0.1", "QUIT", "STARTTLS", ".")
        << to_backend("XCLIENT ADDR=127.0.0.1", "QUIT", "STARTTLS", ".")
    )
    playbook >> backend("250 Ok") << to_client("250 Ok")
    playbook >> client("NOOP") << to_backend("NOOP")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def test_an_empty_message_passes(play: Play) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client(".") << to_backend(".")
    playbook >> backend("250 Ok") << to_client("250 Ok")


@pytest.mark.parametrize("refusal", ["554 no recipients", "450 later", "503 no"])
def test_behind_a_refused_data_are_commands(play: Play, refusal: str) -> None:
    playbook = greeted(play(), "PIPELINING")
    playbook >> client("DATA", "RSET", ".") << to_backend("DATA")
    playbook >> backend(refusal) << to_client(refusal) << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok", "500 5.5.2 Error: bad syntax")


def test_behind_an_accepted_data_is_the_message(play: Play) -> None:
    playbook = with_recipient(greeted(play(), "PIPELINING"))
    playbook >> client("DATA", "RSET", ".", "QUIT") << to_backend("DATA")
    playbook >> backend("354 go on") << to_client("354 go on") << to_backend("RSET", ".")
    playbook >> backend("250 queued") << to_client("250 queued") << to_backend("QUIT")
    playbook >> backend("221 bye") << to_client("221 bye") << CloseSession("client_quit")


def test_a_client_that_sends_much_of_it_ahead_is_paused(play: Play) -> None:
    playbook = with_recipient(greeted(play()))
    text = b"x" * (HELD_LIMIT + 1)
    playbook >> client("DATA", text) << to_backend("DATA") << PauseClient()
    commands = playbook.front.handle(backend("354 go on"))
    assert [type(command).__name__ for command in commands] == [
        "SendToClient",
        "SendToBackend",
        "ResumeClient",
    ]


def test_nothing_is_read_before_the_end_of_data_is_answered(play: Play) -> None:
    playbook = in_data(greeted(play(), "PIPELINING"))
    playbook >> client(".", "MAIL FROM:<c>") << to_backend(".")
    playbook >> backend("450 later") << to_client("450 later") << to_backend("MAIL FROM:<c>")
    playbook >> backend("250 Ok") << to_client("250 Ok")


@pytest.mark.parametrize("answer", ["250 Ok", "334 what?", "300 what?"])
def test_data_has_two_answers_only(play: Play, answer: str) -> None:
    playbook = with_recipient(greeted(play())) >> client("DATA") << to_backend("DATA")
    commands = playbook.front.handle(backend(answer))
    assert isinstance(commands[0], Report)
    assert list(commands[1:]) == [to_client(INTERNAL_ERROR), CloseSession("backend_protocol_error")]


# Smuggling


def test_a_message_with_a_bare_newline_is_refused_at_its_end(play: Play) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client("Subject: x", "", "text") << to_backend(b"Subject: x\r\n\r\ntext")
    (
        playbook
        >> client(b"\r\n.\nMAIL FROM:<evil>\r\n")
        << Report("smuggling", "bare LF in a message")
        << AbortBackend()
    )
    playbook >> client(b"more\n.\n") >> BackendFinished() >> backend("250 what?")
    playbook >> client(b"\r\n.\r\n") << to_client(BARE, CLOSING) << CloseSession("smuggling")


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"a\n.\n\r\n.\r\n", "bare LF"), (b"a\r.\r\r\n.\r\n", "bare CR"), (b".\0\r\n.\r\n", "NUL behind a dot")],
)
def test_so_is_one_that_comes_at_once(play: Play, content: bytes, found: str) -> None:
    playbook = in_data(greeted(play()))
    (
        playbook
        >> client(content)
        << Report("smuggling", f"{found} in a message")
        << AbortBackend()
        << to_client(BARE, CLOSING)
        << CloseSession("smuggling")
    )


def test_a_refused_message_is_not_read_for_ever(play: Play) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client(b"\n") << Report("smuggling", "bare LF in a message") << AbortBackend()
    piece = b"x" * (SWALLOW_LIMIT // 8)
    for _ in range(8):
        playbook >> client(piece)
    playbook >> client(b"x") << to_client(BARE, CLOSING) << CloseSession("smuggling")


def test_bare_newlines_can_be_put_right(play: Play) -> None:
    playbook = in_data(greeted(play(smtp_bare_newline=BareNewline.NORMALIZE)))
    playbook >> client(b"a\n.\nQUIT\n\r\n.\r\n") << to_backend("a", "..", "QUIT", "", ".")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def test_bare_newlines_can_pass(play: Play) -> None:
    playbook = in_data(greeted(play(smtp_bare_newline=BareNewline.PASS)))
    playbook >> client(b"a\n.\nb\r.\r\r\n.\r\n") << to_backend(b"a\n.\nb\r.\r\r\n.\r\n")
    playbook >> backend("250 Ok") << to_client("250 Ok")


# BDAT


def test_chunks_pass_with_whatever_is_in_them(play: Play) -> None:
    playbook = with_recipient(greeted(play(), "CHUNKING"))
    (
        playbook
        >> client("BDAT 12", b"\nQUIT\r\n.\r\n\0\r", "bdat 5 last")
        << to_backend("BDAT 12", b"\nQUIT\r\n.\r\n\0\r")
    )
    playbook >> backend("250 12 octets") << to_client("250 12 octets") << to_backend("BDAT 5 LAST")
    playbook >> client(b"NO") << to_backend(b"NO")
    playbook >> client(b"OP\nNOOP\r\n") << to_backend(b"OP\n")
    playbook >> backend("250 queued") << to_client("250 queued") << to_backend("NOOP")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def test_chunks_can_be_pipelined(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING", "CHUNKING")
    group = ("MAIL FROM:<a>", "RCPT TO:<b>", "BDAT 2", b"ab", "BDAT 0", "BDAT 0 LAST")
    playbook >> client(*group, "RSET") << to_backend(*group)
    replies = ("250 a", "250 b", "250 2", "250 0", "250 queued")
    playbook >> backend(*replies) << to_client(*replies) << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok")


def test_a_refused_chunk_is_one(play: Play) -> None:
    playbook = greeted(play(), "CHUNKING")
    playbook >> client("BDAT 6", "QUIT", "RSET") << to_backend("BDAT 6", "QUIT")
    playbook >> backend("503 no recipients") << to_client("503 no recipients") << to_backend("RSET")
    playbook >> backend("250 Ok") << to_client("250 Ok")


@pytest.mark.parametrize("argument", ["", " x", " -1", " 1 FIRST", " 4294967301", " 2147483647 LAST", " 0x5"])
def test_a_chunk_whose_size_is_open_ends_the_session(play: Play, argument: str) -> None:
    playbook = with_recipient(greeted(play(), "CHUNKING"))
    (
        playbook
        >> client(f"BDAT{argument}", "XCLIENT ADDR=127.0.0.1")
        << to_client("521 5.5.4 Syntax: BDAT count [LAST]", CLOSING)
        << CloseSession("bdat_refused")
    )


@pytest.mark.parametrize("discarded", [(), ("CHUNKING",)])
def test_a_backend_that_did_not_offer_chunking_gets_no_chunk(play: Play, discarded: tuple[str, ...]) -> None:
    playbook = connected(play(smtp_discard_ehlo_keywords=discarded))
    playbook >> client("EHLO c") << to_backend("EHLO c")
    offered = "250-CHUNKING" if discarded else "250-SIZE"
    shown = () if discarded else ("250-SIZE",)
    (
        playbook
        >> backend("250-old", offered, "250 DSN")
        << to_client("250-old", *shown, "250-DSN", "250 STARTTLS")
    )
    (
        playbook
        >> client("BDAT 24", "XCLIENT ADDR=127.0.0.1")
        << to_client("521 5.5.1 Error: command not implemented", CLOSING)
        << CloseSession("bdat_refused")
    )


def test_a_refusal_of_a_chunk_comes_in_its_place(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING")
    playbook >> client("RSET", "BDAT 5", b"RSET\n") << to_backend("RSET")
    (
        playbook
        >> backend("250 Ok")
        << to_client("250 Ok", "521 5.5.1 Error: command not implemented", CLOSING)
        << CloseSession("bdat_refused")
    )


# The backend in the middle of a message


@pytest.mark.parametrize(
    ("event", "reason"), [(BackendFinished(), "backend_closed"), (BackendLost("x"), "backend_lost")]
)
def test_a_backend_lost_in_a_message_is_told_at_its_end(play: Play, event: Event, reason: str) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client(b"text") << to_backend(b"text")
    playbook >> event << AbortBackend()
    playbook >> client(b"more\n") >> event
    playbook >> client("", ".") << to_client(UNAVAILABLE) << CloseSession(reason)


def test_a_backend_lost_in_a_chunk_is_told_at_its_end(play: Play) -> None:
    playbook = in_chunk(greeted(play(), "CHUNKING"))
    playbook >> client(b"12345") << to_backend(b"12345")
    playbook >> BackendLost("reset") << AbortBackend()
    playbook >> client(b"6789")
    playbook >> client(b"0") << to_client(UNAVAILABLE) << CloseSession("backend_lost")


def test_so_it_is_with_replies_still_awaited(play: Play) -> None:
    playbook = greeted(play(), "PIPELINING", "CHUNKING")
    playbook >> client("MAIL FROM:<a>", "BDAT 2", b"a") << to_backend("MAIL FROM:<a>", "BDAT 2", b"a")
    playbook >> backend("421 bye") << AbortBackend()
    playbook >> client(b"b") << to_client("421 bye") << CloseSession("backend_closed")


@pytest.mark.parametrize(
    ("refusal", "more"), [("552 too big", [CLOSING]), ("451 full", [CLOSING]), ("421 full", [])]
)
def test_a_message_refused_before_its_end_is_not_sent_on(play: Play, refusal: str, more: list[str]) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client(b"text") << to_backend(b"text")
    playbook >> backend(refusal) << AbortBackend()
    (
        playbook
        >> client(b"more\r\n.\r\nQUIT\r\n")
        << to_client(refusal, *more)
        << CloseSession("backend_closed")
    )


def test_so_is_a_chunk(play: Play) -> None:
    playbook = in_chunk(greeted(play(), "CHUNKING"))
    playbook >> client(b"12345") << to_backend(b"12345")
    playbook >> backend("503 no") << AbortBackend()
    playbook >> client(b"QUIT\n") << to_client("503 no", CLOSING) << CloseSession("backend_closed")


@pytest.mark.parametrize(
    ("reply", "detail"), [("250 Ok", "reply 250 that nothing asked for"), ("hello", "no reply")]
)
def test_no_message_is_accepted_before_its_end(play: Play, reply: str, detail: str) -> None:
    playbook = in_data(greeted(play()))
    playbook >> backend(reply) << Report("backend_protocol_error", detail) << AbortBackend()
    playbook >> client(".") << to_client(INTERNAL_ERROR) << CloseSession("backend_protocol_error")


@pytest.mark.parametrize(
    ("event", "reason"), [(BackendFinished(), "backend_closed"), (BackendLost("x"), "backend_lost")]
)
def test_a_backend_lost_before_it_answers_the_end_of_data_is_a_421(
    play: Play, event: Event, reason: str
) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client(".") << to_backend(".")
    playbook >> event << to_client(UNAVAILABLE) << CloseSession(reason)


# The client in the middle of a message


def test_a_client_that_ends_in_a_message_leaves_it_without_an_end(play: Play) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client(b"text\r\n.") << to_backend(b"text")
    playbook >> ClientFinished() << AbortBackend() << CloseSession("client_closed")


def test_a_client_that_ends_in_a_chunk_leaves_it_short(play: Play) -> None:
    playbook = in_chunk(greeted(play(), "CHUNKING"))
    playbook >> client(b"12345") << to_backend(b"12345")
    playbook >> ClientFinished() << AbortBackend() << CloseSession("client_closed")


def test_a_client_that_stalls_in_a_message_is_timed_out(play: Play) -> None:
    playbook = in_data(greeted(play()))
    playbook >> client(b"text") << to_backend(b"text")
    (
        playbook
        >> IdleTimedOut()
        << to_client("421 4.4.2 proxy.example Error: timeout exceeded")
        << AbortBackend()
        << CloseSession("idle_timeout")
    )
