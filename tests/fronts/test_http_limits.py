"""Limits in :mod:`tlsproxy.fronts.http`: what the client owes at each step, and what it is told when it is over one."""

from tests.fronts.conftest import OPENED
from tests.fronts.test_http import (
    OK,
    POST,
    POST_ON,
    logged,
    own,
    size,
    uploading,
    waiting,
)
from tests.support.http_play import RESPONSE, browsing, http_options
from tests.support.playbook import Playbook, backend, client, to_backend, to_client
from tlsproxy.fronts.commands import (
    AbortBackend,
    BeginRequest,
    CloseSession,
    ConnectBackend,
    StartTls,
    StopTimer,
)
from tlsproxy.fronts.events import BackendConnected, ClientTooSlow
from tlsproxy.fronts.http import HttpFront
from tlsproxy.policy.pace import Due

SLOW = ClientTooSlow("min_data_rate")


def due(playbook: Playbook) -> Due:
    playbook.end()
    return playbook.front.due


class TestWhatIsDue:
    def test_a_body_once_the_backend_takes_it(self) -> None:
        playbook = browsing()
        assert due(playbook) is Due.NOTHING
        playbook >> client(*POST) << BeginRequest() << ConnectBackend(fresh=True) << StopTimer()
        assert due(playbook) is Due.NOTHING
        playbook >> BackendConnected() << to_backend(*POST_ON)
        assert due(playbook) is Due.CONTENT
        playbook >> client(b"ab") << to_backend(b"ab")
        assert due(playbook) is Due.CONTENT
        playbook >> client(b"cde") << to_backend(b"cde") << RESPONSE
        assert due(playbook) is Due.NOTHING

    def test_nothing_while_a_response_is_awaited(self) -> None:
        assert due(waiting(browsing())) is Due.NOTHING

    def test_each_request_is_a_step(self) -> None:
        playbook = browsing()
        before = playbook.front.step
        waiting(playbook)
        assert playbook.front.step > before


class TestTooSlow:
    def test_a_body_gets_408(self) -> None:
        told = own("408 Request Timeout", "the body came too slowly")
        playbook = uploading(browsing()) >> SLOW << to_client(*told)
        playbook << logged("POST", 408, size(*POST), size(*told)) << AbortBackend()
        (playbook << CloseSession("min_data_rate")).end()

    def test_a_response_is_cut_off(self) -> None:
        playbook = waiting(browsing()) >> backend(*OK[:-1], b"o") << to_client(*OK[:-1], b"o") << StopTimer()
        playbook >> SLOW << logged("GET", 200, size("GET / HTTP/1.1", "Host: example.org", ""), size(*OK) - 1)
        (playbook << CloseSession("min_data_rate")).end()

    def test_nobody_is_told_within_a_handshake(self) -> None:
        playbook = Playbook(HttpFront(http_options())) >> OPENED << StartTls()
        (playbook >> SLOW << CloseSession("min_data_rate")).end()
