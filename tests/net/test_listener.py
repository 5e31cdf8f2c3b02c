"""Tests for :mod:`tlsproxy.net.listener`: what serves a connection, by who it comes from."""

from ipaddress import ip_address
from socket import gethostname
from typing import Any, cast

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from tests.identity.facts import CLIENT4, SERVER4
from tests.net.world import Connector, Transport
from tests.support.certificates import Authority
from tlsproxy.config.parse import parse
from tlsproxy.config.resolve import Resolver
from tlsproxy.fronts import KINDS
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.proxy_header import encode_v1
from tlsproxy.net.leg import Leg
from tlsproxy.net.listener import Listener
from tlsproxy.net.proxy_header import ProxyHeaderReader
from tlsproxy.net.session import SessionPlan
from tlsproxy.notes import LimitHit, Note, ProxyHeaderRefused, SessionEnded, SessionStarted
from tlsproxy.policy.limits import LocalCounts
from tlsproxy.tls.contexts import ContextStore

CONFIGURATION = """
[backend.old]
servers = ["127.0.0.1:2525"]
[pathway.scanners]
tls_protocols = ">=TLSv1.2"
idle_timeout = 7
[[esmtp_listener]]
backend = "old"
  [[esmtp_listener.listen]]
  address = "192.0.2.25:25"
  proxy_protocol_from = ["203.0.113.0/24"]
  proxy_protocol_timeout = 3
    [[esmtp_listener.listen.peer]]
    network = "10.0.0.0/8"
    pathway = "scanners"
    [[esmtp_listener.listen.peer]]
    network = "192.0.2.0/28"
    idle_timeout = 9
"""


def tcp(host: str) -> IAddress:
    return IPv6Address("TCP", host, 51234) if ":" in host else IPv4Address("TCP", host, 51234)


class Contexts(ContextStore):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def server_context(self, *arguments: Any) -> Any:
        self.asked += 1
        return super().server_context(*arguments)


class Listening:
    """A listener, and what came of its connections."""

    def __init__(self, text: str) -> None:
        configuration = parse(text, "/etc/tlsproxy/tlsproxy.toml")
        listener = configuration.listeners[0]
        self.clock = Clock()
        self.contexts = Contexts()
        self.counts = LocalCounts()
        self.notes: list[Note] = []
        self.emptied = 0
        self.listener = Listener(
            name="192.0.2.25:25",
            listen=listener.listens[0],
            kind=KINDS["esmtp"],
            resolver=Resolver(configuration, listener, listener.listens[0]),
            contexts=self.contexts,
            connector=cast("Any", Connector()),
            clock=self.clock,
            notify=self.notes.append,
            counts=self.counts,
            on_empty=self._on_empty,
        )

    def _on_empty(self) -> None:
        self.emptied += 1

    def connect(self, host: str) -> Transport:
        """A connection from ``host``."""
        transport = Transport(self.listener.buildProtocol(tcp(host)))
        transport.protocol.makeConnection(transport)
        return transport

    def plan(self, host: str) -> SessionPlan:
        """What a session with ``host`` goes by."""
        leg = cast("Any", self.listener.buildProtocol(tcp(host)))
        plan: SessionPlan = leg.owner._plan
        return plan


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> str:
    issued = authority.issue("mx.example.org", stem="listener")
    return f'tls_certificate = "{issued.chain_path}"\ntls_key = "{issued.key_path}"\n'


@pytest.fixture
def listening(certificate: str) -> Listening:
    return Listening(certificate + CONFIGURATION)


class TestPlans:
    def test_a_client_has_the_settings_of_where_it_comes_from(self, listening: Listening) -> None:
        timeouts = {
            host: listening.plan(host).settings.idle_timeout
            for host in ("10.1.2.3", "192.0.2.7", "::ffff:10.1.2.3", "198.51.100.1", "2001:db8::1")
        }
        assert timeouts == {
            "10.1.2.3": 7,
            "192.0.2.7": 9,
            "::ffff:10.1.2.3": 7,
            "198.51.100.1": 600,
            "2001:db8::1": 600,
        }

    def test_it_is_made_once_for_all_clients_with_the_same_settings(self, listening: Listening) -> None:
        plans = {id(listening.plan(host)) for host in ("198.51.100.1", "198.51.100.2", "2001:db8::1")}
        assert len(plans) == 1
        assert listening.contexts.asked == 1
        assert listening.plan("10.1.2.3") is not listening.plan("198.51.100.1")

    def test_it_has_a_context_where_tls_is_offered(self, listening: Listening) -> None:
        plan = listening.plan("198.51.100.1")
        assert plan.context is not None
        assert plan.handshakes == plan.settings.handshake_policy

    def test_there_is_none_where_tls_is_not_offered(self) -> None:
        listening = Listening('tls_security_level = "none"\n' + CONFIGURATION)
        assert listening.plan("198.51.100.1").context is None
        assert listening.contexts.asked == 0

    def test_the_proxy_has_the_machine_s_name_unless_it_is_given_one(self, certificate: str) -> None:
        for line, name in (("", gethostname()), ('smtp_hostname = "mx.example.org"\n', "mx.example.org")):
            plan = Listening(certificate + line + CONFIGURATION).plan("198.51.100.1")
            assert plan.front_options.settings.smtp_hostname == name

    def test_the_front_s_clock_has_a_time_zone(self, listening: Listening) -> None:
        assert listening.plan("198.51.100.1").front_options.now().utcoffset() is not None

    def test_a_client_on_a_unix_socket_has_those_of_the_listen(self, listening: Listening) -> None:
        leg = cast("Any", listening.listener.buildProtocol(UNIXAddress(None)))
        assert leg.owner._plan.settings.idle_timeout == 600


class TestTrustedProxies:
    @pytest.mark.parametrize("host", ["203.0.113.9", "::ffff:203.0.113.9"])
    def test_a_connection_from_one_has_to_begin_with_a_header(self, listening: Listening, host: str) -> None:
        assert isinstance(listening.listener.buildProtocol(tcp(host)), ProxyHeaderReader)

    @pytest.mark.parametrize("host", ["203.0.114.9", "10.1.2.3", "2001:db8::1"])
    def test_from_elsewhere_a_header_is_never_believed(self, listening: Listening, host: str) -> None:
        assert isinstance(listening.listener.buildProtocol(tcp(host)), Leg)

    def test_a_unix_socket_has_no_address_to_be_trusted(self, listening: Listening) -> None:
        assert isinstance(listening.listener.buildProtocol(UNIXAddress(None)), Leg)

    def test_the_session_is_with_the_client_that_the_header_names(self, listening: Listening) -> None:
        transport = listening.connect("203.0.113.9")
        assert listening.notes == []
        transport.says(encode_v1(CLIENT4, SERVER4))
        (note,) = listening.notes
        assert isinstance(note, SessionStarted)
        assert note.client == str(CLIENT4)
        assert cast("Any", transport.protocol).owner._plan.settings.idle_timeout == 9

    def test_one_without_a_header_is_refused_and_noted(self, listening: Listening) -> None:
        transport = listening.connect("203.0.113.9")
        listening.clock.advance(3)
        assert transport.state == "aborted"
        (note,) = listening.notes
        assert isinstance(note, ProxyHeaderRefused)
        assert (note.listen, note.sender) == ("192.0.2.25:25", "203.0.113.9:51234")
        assert note.detail == "no PROXY header within 3 s"

    def test_one_whose_client_is_over_a_limit_is_told_by_the_client_s_address(self, certificate: str) -> None:
        listening = Listening(certificate + "max_sessions_per_peer = 1\n" + CONFIGURATION)
        first, second, other = (listening.connect("203.0.113.9") for _ in range(3))
        first.says(encode_v1(CLIENT4, SERVER4))
        second.says(encode_v1(CLIENT4, SERVER4))
        assert second.written.startswith(b"421 4.7.0 ")
        other.says(encode_v1(ClientAddress(ip_address("192.0.2.99"), 1), SERVER4))
        assert not other.written.startswith(b"421")

    def test_one_that_is_not_even_told_is_closed(
        self, certificate: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tlsproxy.net.listener.REFUSALS_LIMIT", 0)
        listening = Listening(certificate + "max_sessions = 1\n" + CONFIGURATION)
        listening.connect("198.51.100.1")
        transport = listening.connect("203.0.113.9")
        transport.says(encode_v1(CLIENT4, SERVER4))
        assert transport.state == "aborted"


class TestSessions:
    def test_those_that_run_are_known(self, listening: Listening) -> None:
        first, second = listening.connect("198.51.100.1"), listening.connect("198.51.100.2")
        assert len(listening.listener.sessions) == 2
        first.is_lost()
        assert len(listening.listener.sessions) == 1
        assert listening.emptied == 0
        second.is_lost()
        assert listening.listener.sessions == set()
        assert listening.emptied == 1

    def test_draining_reaches_each_and_those_that_still_begin(self, listening: Listening) -> None:
        running, behind_proxy = listening.connect("198.51.100.1"), listening.connect("203.0.113.9")
        listening.listener.drain()
        assert running.written.startswith(b"421 4.3.2")
        behind_proxy.says(encode_v1(CLIENT4, SERVER4))
        assert behind_proxy.written.startswith(b"421 4.3.2")
        running.is_lost()
        behind_proxy.is_lost()
        assert {note.reason for note in listening.notes if isinstance(note, SessionEnded)} == {"draining"}
        assert listening.emptied == 1

    def test_one_that_is_on_the_way_to_a_session_is_somebody(self, listening: Listening) -> None:
        assert listening.listener.empty
        behind_proxy = listening.connect("203.0.113.9")
        assert not listening.listener.empty
        behind_proxy.says(encode_v1(CLIENT4, SERVER4))
        assert not listening.listener.empty
        assert listening.emptied == 0
        behind_proxy.is_lost()
        assert listening.listener.empty
        assert listening.emptied == 1

    def test_cut_it_is_waited_for_no_longer(self, listening: Listening) -> None:
        behind_proxy = listening.connect("203.0.113.9")
        listening.listener.cut()
        assert behind_proxy.state == "aborted"
        assert listening.emptied == 1

    def test_twisted_s_factory_hooks_do_nothing(self, listening: Listening) -> None:
        listening.listener.doStart()
        listening.listener.doStop()
        assert not listening.listener.noisy


class TestLimits:
    def refused(self, listening: Listening, host: str) -> str | None:
        """The session's answer to a limit that refuses it; None where it is closed at once."""
        protocol = listening.listener.buildProtocol(tcp(host))
        if protocol is None:
            return None
        transport = Transport(protocol)
        transport.protocol.makeConnection(transport)
        return bytes(transport.written).decode()

    def test_without_any_there_is_nothing_to_count(self, certificate: str) -> None:
        listening = Listening(certificate + "max_sessions = 0\n" + CONFIGURATION)
        assert listening.plan("198.51.100.1").limits is None
        listening.connect("198.51.100.1")
        assert listening.counts == LocalCounts()

    def test_a_client_over_one_is_told_counted_and_noted(self, certificate: str) -> None:
        listening = Listening(certificate + "max_sessions = 1\n" + CONFIGURATION)
        running, refused = listening.connect("198.51.100.1"), listening.connect("198.51.100.2")
        assert refused.written.startswith(b"421 4.7.0 ")
        assert refused.state == "finished"
        (note,) = [note for note in listening.notes if isinstance(note, LimitHit)]
        session = cast("Any", refused.protocol).owner.identifier
        assert note == LimitHit(
            client="198.51.100.2:51234",
            listen="192.0.2.25:25",
            session=session,
            limit="max_sessions",
            detail="1, set by max_sessions",
        )
        refused.is_lost()
        running.is_lost()
        assert listening.counts == LocalCounts()
        assert {note.reason for note in listening.notes if isinstance(note, SessionEnded)} == {
            "max_sessions",
            "client_lost",
        }

    def test_a_place_that_is_given_back_can_be_taken(self, certificate: str) -> None:
        listening = Listening(certificate + "max_sessions = 1\n" + CONFIGURATION)
        for _ in range(3):
            transport = listening.connect("198.51.100.1")
            assert not transport.written.startswith(b"421")
            transport.is_lost()

    def test_each_scope_has_its_own_places_even_where_their_settings_are_equal(
        self, certificate: str
    ) -> None:
        text = CONFIGURATION.replace("idle_timeout = 9", "idle_timeout = 7\nmax_sessions = 1")
        listening = Listening(
            certificate + text.replace("idle_timeout = 7\n[[", "idle_timeout = 7\nmax_sessions = 1\n[[")
        )
        answers = [listening.connect(host).written[:3] for host in ("10.1.2.3", "192.0.2.7", "10.1.2.4")]
        assert answers == [b"", b"", b"421"]
        assert len({id(plan.settings) for plan in listening.listener._plans.values()}) == 1

    def test_counts_are_shared_with_who_else_has_them(self, certificate: str) -> None:
        one, other = (Listening(certificate + "max_sessions = 1\n" + CONFIGURATION) for _ in range(2))
        other.listener._host = evolve(other.listener._host, counts=one.counts)
        one.connect("198.51.100.1")
        assert other.connect("198.51.100.2").written.startswith(b"421")

    def test_only_so_many_are_told_at_a_time(self, certificate: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tlsproxy.net.listener.REFUSALS_LIMIT", 1)
        listening = Listening(certificate + "max_sessions = 1\n" + CONFIGURATION)
        listening.connect("198.51.100.1")
        told = listening.connect("198.51.100.2")
        assert self.refused(listening, "198.51.100.3") is None
        assert [note.session for note in listening.notes if isinstance(note, LimitHit)][1] is None
        told.is_lost()
        assert listening.connect("198.51.100.3").written.startswith(b"421")

    def test_a_protocol_without_words_for_it_closes(self, certificate: str) -> None:
        listening = Listening(certificate + "session_rate_per_peer = 1\n" + CONFIGURATION)
        listening.listener._host = evolve(listening.listener._host, kind=KINDS["stream"])
        assert listening.listener.buildProtocol(tcp("198.51.100.1")) is not None
        assert listening.listener.buildProtocol(tcp("198.51.100.1")) is None
        listening.clock.advance(121)
        assert listening.listener.buildProtocol(tcp("198.51.100.1")) is not None

    def test_the_default_bounds_sessions_without_being_set(self, listening: Listening) -> None:
        limits = listening.plan("198.51.100.1").limits
        assert limits is not None
        assert [limit.detail for limit in limits.places] == ["8000 by default"]


def test_a_configuration_without_trusted_proxies_asks_nobody_for_a_header(certificate: str) -> None:
    text = "\n".join(line for line in CONFIGURATION.splitlines() if "proxy_protocol" not in line)
    assert isinstance(Listening(certificate + text).listener.buildProtocol(tcp("203.0.113.9")), Leg)
