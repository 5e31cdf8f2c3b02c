"""Tests for :mod:`tlsproxy.net.listener`: what serves a connection, by who it comes from."""

from socket import gethostname
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from tests.identity.facts import CLIENT4, SERVER4
from tests.net.world import Connector, Transport
from tests.support.certificates import Authority
from tlsproxy.config.parse import parse
from tlsproxy.config.resolve import Resolver
from tlsproxy.errors import OptionsError
from tlsproxy.fronts import KINDS
from tlsproxy.identity.proxy_header import encode_v1
from tlsproxy.net.leg import Leg
from tlsproxy.net.listener import Listener
from tlsproxy.net.proxy_header import ProxyHeaderReader
from tlsproxy.net.session import SessionPlan
from tlsproxy.notes import ConfigurationWarned, Note, ProxyHeaderRefused, SessionEnded, SessionStarted
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
    """Counts what it is asked for, and refuses when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.broken = False

    def server_context(self, *arguments: Any) -> Any:
        self.asked += 1
        if self.broken:
            raise OptionsError((("tls_ciphers", "no cipher matches"), ("tls_key", "doesn't match")))
        return super().server_context(*arguments)


class Listening:
    """A listener, and what came of its connections."""

    def __init__(self, text: str) -> None:
        configuration = parse(text, "/etc/tlsproxy/tlsproxy.toml")
        listener = configuration.listeners[0]
        self.clock = Clock()
        self.contexts = Contexts()
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

    def test_settings_that_can_t_be_used_close_the_connection_and_are_told(
        self, listening: Listening
    ) -> None:
        listening.contexts.broken = True
        assert listening.listener.buildProtocol(tcp("198.51.100.1")) is None
        assert [
            (note.path, note.message) for note in listening.notes if isinstance(note, ConfigurationWarned)
        ] == [
            ("listen 192.0.2.25:25: tls_ciphers", "no cipher matches"),
            ("listen 192.0.2.25:25: tls_key", "doesn't match"),
        ]

    def test_they_are_tried_again_for_the_next_client(self, listening: Listening) -> None:
        listening.contexts.broken = True
        assert listening.listener.buildProtocol(tcp("198.51.100.1")) is None
        listening.contexts.broken = False
        assert listening.listener.buildProtocol(tcp("198.51.100.1")) is not None


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

    def test_one_whose_client_s_settings_can_t_be_used_is_closed(self, listening: Listening) -> None:
        listening.contexts.broken = True
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

    def test_twisted_s_factory_hooks_do_nothing(self, listening: Listening) -> None:
        listening.listener.doStart()
        listening.listener.doStop()
        assert not listening.listener.noisy


def test_a_configuration_without_trusted_proxies_asks_nobody_for_a_header(certificate: str) -> None:
    text = "\n".join(line for line in CONFIGURATION.splitlines() if "proxy_protocol" not in line)
    assert isinstance(Listening(certificate + text).listener.buildProtocol(tcp("203.0.113.9")), Leg)
