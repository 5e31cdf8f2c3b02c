"""The first words with an SMTP server."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.playbook import wire
from tlsproxy.fronts.replies import REPLY_LIMIT
from tlsproxy.fronts.smtp_opening import (
    Failed,
    Opened,
    Result,
    SendToServer,
    SmtpOpening,
    StartServerTls,
    TurnedAway,
)

GREETING = wire("220-old.example ESMTP", "220 be patient")
OFFER = wire("250-old.example", "250-PIPELINING", "250-starttls", "250 HELP")
READY = wire("220 2.0.0 Ready to start TLS")
EHLO, STARTTLS = SendToServer(b"EHLO proxy.example\r\n"), SendToServer(b"STARTTLS\r\n")


def opening(*, starttls: bool) -> SmtpOpening:
    return SmtpOpening(starttls=starttls, hostname="proxy.example")


def results(machine: SmtpOpening, pieces: Iterable[bytes]) -> list[Result]:
    return [result for piece in pieces if (result := machine.receive(piece)) is not None]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def before_tls(*said: bytes) -> Result:
    """What follows from the last of what a server says, the others having been taken well."""
    machine = opening(starttls=True)
    *first, last = (machine.receive(each) for each in said)
    assert first == [EHLO, STARTTLS][: len(first)]
    assert last is not None
    return last


class TestGreeting:
    @pytest.mark.parametrize("pieces", [[GREETING], bytewise(GREETING)], ids=["whole", "bytewise"])
    def test_a_server_that_greets_is_the_front_s(self, pieces: list[bytes]) -> None:
        assert results(opening(starttls=False), pieces) == [Opened(GREETING)]

    def test_all_that_it_said_is_handed_on_as_it_came(self) -> None:
        assert opening(starttls=False).receive(b"220 hi\n250 early\r\n25") == Opened(
            b"220 hi\n250 early\r\n25"
        )

    @pytest.mark.parametrize("starttls", [False, True])
    @pytest.mark.parametrize("line", ["421 4.3.2 too busy", "554 no SMTP service here", "250 what?"])
    def test_another_greeting_turns_away(self, line: str, starttls: bool) -> None:
        assert opening(starttls=starttls).receive(wire(line)) == TurnedAway(wire(line), f"greeting {line}")

    @pytest.mark.parametrize(
        "said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46\n", b"220" * REPLY_LIMIT, b"\r\n"]
    )
    def test_what_is_no_reply_fails(self, said: bytes) -> None:
        assert opening(starttls=False).receive(said) == Failed(
            "what the server says is no SMTP reply (GREETING)"
        )

    def test_an_endless_greeting_fails(self) -> None:
        machine = opening(starttls=False)
        line = b"220-" + b"x" * 1000 + b"\r\n"
        taken = results(machine, [line] * (REPLY_LIMIT // len(line) + 1))
        assert taken == [Failed("what the server says is no SMTP reply (GREETING)")]


class TestStarttls:
    @pytest.mark.parametrize("split", [lambda data: [data], bytewise], ids=["whole", "bytewise"])
    def test_the_front_finds_a_server_that_greets_in_tls(self, split: object) -> None:
        assert callable(split)
        machine = opening(starttls=True)
        assert results(machine, split(GREETING)) == [EHLO]
        assert results(machine, split(OFFER)) == [STARTTLS]
        assert results(machine, split(READY)) == [StartServerTls()]
        assert machine.tls_started() == Opened(GREETING)

    def test_it_has_to_be_offered(self) -> None:
        offer = wire("250-old.example", "250-XSTARTTLS", "250 HELP STARTTLS")
        assert before_tls(GREETING, offer) == Failed("STARTTLS isn't offered")

    @pytest.mark.parametrize("reply", ["502 5.5.1 what is EHLO?", "421 4.3.2 too busy", "220 again"])
    def test_a_server_without_ehlo_has_none(self, reply: str) -> None:
        assert before_tls(GREETING, wire(reply)) == Failed(
            f"STARTTLS can't be had: EHLO was answered {reply}"
        )

    @pytest.mark.parametrize("reply", ["454 4.7.0 TLS not available", "250 Ok", "554 no"])
    def test_a_server_that_does_not_agree_is_not_used(self, reply: str) -> None:
        assert before_tls(GREETING, OFFER, wire(reply)) == Failed(f"STARTTLS was answered {reply}")

    @pytest.mark.parametrize("injected", [b"2", b"250 Ok\r\n", b"\r\n", b"\x16\x03\x03"])
    def test_plaintext_behind_the_agreement_ends_it(self, injected: bytes) -> None:
        failed = before_tls(GREETING, OFFER, READY + injected)
        assert isinstance(failed, Failed)
        assert "CVE-2011-0411" in failed.detail

    @pytest.mark.parametrize("said", [[GREETING + b"2"], [GREETING + OFFER], [GREETING, OFFER + READY]])
    def test_a_server_speaks_when_it_is_asked(self, said: list[bytes]) -> None:
        assert before_tls(*said) == Failed("the server speaks before it is asked")

    @pytest.mark.parametrize("said", [[GREETING, b"what?\r\n"], [GREETING, OFFER, b"what?\r\n"]])
    def test_what_is_no_reply_fails(self, said: list[bytes]) -> None:
        failed = before_tls(*said)
        assert isinstance(failed, Failed)
        assert failed.detail.startswith("what the server says is no SMTP reply")

    def test_a_name_of_ours_that_is_not_ascii_does_no_harm(self) -> None:
        machine = SmtpOpening(starttls=True, hostname="prøxy")
        assert machine.receive(GREETING) == SendToServer(b"EHLO pr?xy\r\n")

    def test_a_reply_in_a_message_is_short_and_printable(self) -> None:
        failed = before_tls(GREETING, b"554 \xff" + b"x" * 500 + b"\r\n")
        assert isinstance(failed, Failed)
        assert len(failed.detail) < 150
        assert "\\xff" in failed.detail


said_by_servers = st.sampled_from([GREETING, OFFER, READY, b"421 x\r\n", b"220", b"\n", b"\0", b"250-a\r\n"])


@given(st.lists(said_by_servers | st.binary(max_size=20), max_size=8), st.booleans())
def test_whatever_a_server_says_nothing_is_opened_without_a_greeting_and_what_was_asked_for(
    said: list[bytes], starttls: bool
) -> None:
    machine = opening(starttls=starttls)
    taken: list[Result] = []
    for each in said:
        result = machine.receive(each)
        if result is not None:
            taken.append(result)
        if not isinstance(result, SendToServer | None):
            break
    ends = [each for each in taken if not isinstance(each, SendToServer)]
    if starttls:
        assert not any(isinstance(each, Opened) for each in ends)
        if any(isinstance(each, StartServerTls) for each in ends):
            assert taken == [EHLO, STARTTLS, StartServerTls()]
    else:
        assert not any(isinstance(each, SendToServer | StartServerTls) for each in taken)
        assert all(each.said == b"".join(said)[: len(each.said)] for each in ends if isinstance(each, Opened))
