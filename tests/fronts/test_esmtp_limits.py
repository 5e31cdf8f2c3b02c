"""Limits in :mod:`tlsproxy.fronts.esmtp`: what the client owes at each step, and what it is told when it is over one."""

import pytest
from attrs import evolve

from tests.fronts.conftest import (
    OPENED,
    READY,
    TLS,
    Play,
    connected,
    ehlo_reply,
    greeted,
    in_data,
    in_tls,
    with_recipient,
)
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import AbortBackend, CloseSession, ConnectBackend, Report, StartTls
from tlsproxy.fronts.events import BackendConnected, ClientTooSlow, TlsStarted
from tlsproxy.fronts.options import TlsSecurityLevel
from tlsproxy.policy.pace import Due

TIMEOUT = to_client("421 4.4.2 proxy.example Error: timeout exceeded")
TOO_MANY = to_client("454 4.7.0 TLS not available, too many handshakes from your address")


def due(playbook: Playbook) -> Due:
    playbook.end()
    return playbook.front.due


class TestWhatIsDue:
    def test_it_follows_the_dialogue(self, play: Play) -> None:
        playbook = play()
        playbook >> OPENED << ConnectBackend()
        assert due(playbook) is Due.NOTHING
        playbook >> BackendConnected()
        assert due(playbook) is Due.NOTHING
        playbook >> backend("220 old.example") << to_client("220 old.example")
        assert due(playbook) is Due.COMMAND
        playbook >> client("EHLO c.example") << to_backend("EHLO c.example")
        assert due(playbook) is Due.NOTHING
        playbook >> backend(*ehlo_reply()) << to_client(*ehlo_reply("STARTTLS"))
        assert due(playbook) is Due.COMMAND
        playbook >> client("STARTTLS") << READY << StartTls()
        assert due(playbook) is Due.NOTHING
        playbook >> TlsStarted(TLS)
        assert due(playbook) is Due.COMMAND

    def test_a_message_is_content_until_the_backend_has_to_reply(self, play: Play) -> None:
        playbook = with_recipient(greeted(play()))
        playbook >> client("DATA") << to_backend("DATA")
        assert due(playbook) is Due.NOTHING
        playbook >> backend("354 Go on") << to_client("354 Go on")
        assert due(playbook) is Due.CONTENT
        playbook >> client(b"text") << to_backend(b"text")
        assert due(playbook) is Due.CONTENT
        playbook >> client(b"\r\n.\r\n") << to_backend(b"\r\n.\r\n")
        assert due(playbook) is Due.NOTHING
        playbook >> backend("250 Ok") << to_client("250 Ok")
        assert due(playbook) is Due.COMMAND

    def test_an_answer_in_an_auth_dialogue_is_a_command(self, play: Play) -> None:
        playbook = in_tls(play(), "AUTH LOGIN") >> client("AUTH LOGIN") << to_backend("AUTH LOGIN")
        assert due(playbook) is Due.NOTHING
        playbook >> backend("334 user") << to_client("334 user")
        assert due(playbook) is Due.COMMAND

    def test_a_chunk_is_content(self, play: Play) -> None:
        playbook = with_recipient(greeted(play(), "CHUNKING")) >> client("BDAT 5") << to_backend("BDAT 5")
        assert due(playbook) is Due.CONTENT
        playbook >> client(b"abcde") << to_backend(b"abcde")
        assert due(playbook) is Due.NOTHING


class TestSteps:
    def test_a_piece_of_a_command_is_none(self, play: Play) -> None:
        playbook = greeted(play())
        before = playbook.front.step
        playbook >> client(b"NO") >> client(b"O")
        assert playbook.front.step == before
        playbook >> client(b"P\r\n") << to_backend("NOOP")
        playbook >> backend("250 Ok") << to_client("250 Ok")
        assert playbook.front.step > before

    def test_a_command_that_the_proxy_answers_is_one(self, play: Play) -> None:
        playbook = play(tls_security_level=TlsSecurityLevel.ENCRYPT)
        playbook >> OPENED << to_client("220 proxy.example ESMTP")
        before = playbook.front.step
        playbook >> client("NOOP") << to_client("250 2.0.0 Ok")
        assert playbook.front.step > before

    def test_content_is_one_however_many_pieces_it_comes_in(self, play: Play) -> None:
        playbook = in_data(greeted(play()))
        before = playbook.front.step
        for _ in range(3):
            playbook >> client(b"text") << to_backend(b"text")
        assert playbook.front.step == before

    def test_each_answer_of_an_auth_dialogue_is_one(self, play: Play) -> None:
        playbook = in_tls(play(), "AUTH LOGIN") >> client("AUTH LOGIN") << to_backend("AUTH LOGIN")
        steps = [playbook.front.step]
        for asked in ("user", "password"):
            playbook >> backend(f"334 {asked}") << to_client(f"334 {asked}")
            steps.append(playbook.front.step)
            playbook >> client("eA==") << to_backend("eA==")
        assert len(set(steps)) == 3


class TestTooSlow:
    def test_who_is_late_with_a_command_gets_421(self, play: Play) -> None:
        for playbook in (connected(play()), greeted(play()) >> client(b"MAIL FR"), in_tls(play())):
            playbook >> ClientTooSlow("smtp_command_timeout") << TIMEOUT
            playbook << CloseSession("smtp_command_timeout")

    def test_within_a_message_the_backend_gets_no_end_of_it(self, play: Play) -> None:
        playbook = in_data(greeted(play())) >> client(b"text") << to_backend(b"text")
        (
            playbook
            >> ClientTooSlow("min_data_rate")
            << TIMEOUT
            << AbortBackend()
            << CloseSession("min_data_rate")
        )

    def test_who_does_not_read_is_not_waited_for(self, play: Play) -> None:
        playbook = greeted(play()) >> client("NOOP") << to_backend("NOOP")
        playbook >> ClientTooSlow("min_data_rate") << TIMEOUT << CloseSession("min_data_rate")

    def test_nothing_is_said_within_a_handshake(self, play: Play) -> None:
        playbook = play(tls_wrappermode=True) >> OPENED << StartTls()
        playbook >> ClientTooSlow("min_data_rate") << CloseSession("min_data_rate")


class TestHandshakes:
    @pytest.fixture
    def refused(self, play: Play) -> Playbook:
        playbook = play() >> evolve(OPENED, allows_handshake=lambda: False) << ConnectBackend()
        playbook >> BackendConnected() >> backend("220 old.example") << to_client("220 old.example")
        playbook >> client("EHLO c.example") << to_backend("EHLO c.example")
        return (
            playbook >> backend(*ehlo_reply("PIPELINING")) << to_client(*ehlo_reply("PIPELINING", "STARTTLS"))
        )

    def test_one_too_many_is_454_and_the_session_goes_on(self, refused: Playbook) -> None:
        refused >> client("STARTTLS") << TOO_MANY
        refused >> client("NOOP") << to_backend("NOOP")
        refused >> backend("250 Ok") << to_client("250 Ok")

    def test_it_is_said_in_its_place(self, refused: Playbook) -> None:
        refused >> client("NOOP", "STARTTLS") << to_backend("NOOP")
        (
            refused
            >> backend("250 Ok")
            << to_client("250 Ok", "454 4.7.0 TLS not available, too many handshakes from your address")
        )

    def test_what_comes_behind_it_is_no_injection(self, refused: Playbook) -> None:
        """No TLS begins that it could be taken into."""
        refused >> client("STARTTLS", "NOOP") << TOO_MANY << to_backend("NOOP")
        refused >> backend("250 Ok") << to_client("250 Ok")

    def test_it_is_asked_for_each_and_for_none_without_need(self, play: Play) -> None:
        asked: list[str] = []

        def allows() -> bool:
            asked.append("once more")
            return len(asked) > 1

        playbook = play(tls_security_level=TlsSecurityLevel.ENCRYPT) >> evolve(
            OPENED, allows_handshake=allows
        )
        playbook << to_client("220 proxy.example ESMTP")
        playbook >> client("STARTTLS now") << to_client("501 5.5.4 Syntax: STARTTLS")
        assert asked == []
        playbook >> client("STARTTLS") << TOO_MANY
        playbook >> client("STARTTLS") << READY << StartTls()
        assert len(asked) == 2

    def test_who_tries_on_and_on_is_cut_off_as_for_other_errors(self, refused: Playbook) -> None:
        for _ in range(20):
            refused >> client("STARTTLS") << TOO_MANY
        refused << Report("too_many_errors", "20 errors, 1 commands without work")
        (
            refused
            << to_client("421 4.7.0 proxy.example Error: too many errors")
            << CloseSession("too_many_errors")
        )
