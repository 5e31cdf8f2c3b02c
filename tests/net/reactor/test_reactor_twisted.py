"""Twisted's own tests of what a reactor's TCP does, run on the one of this package."""

from typing import Any

import pytest
from twisted.internet.test import test_core, test_fdset, test_socket, test_tcp, test_time

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # they leave sockets to the collector

REACTOR = "tlsproxy.net.reactor.reactor.ProxyReactor"

BUILDERS: list[Any] = [
    test_tcp.TCP4ClientTestsBuilder,
    test_tcp.TCP6ClientTestsBuilder,
    test_tcp.TCP4ConnectorTestsBuilder,
    test_tcp.TCP6ConnectorTestsBuilder,
    test_tcp.TCPPortTestsBuilder,
    test_tcp.TCPFDPortTestsBuilder,
    test_tcp.TCPConnectionTestsBuilder,
    test_tcp.TCPTransportTestsBuilder,
    test_tcp.AbortConnectionTests,
    test_core.SystemEventTestsBuilder,
    test_fdset.ReactorFDSetTestsBuilder,
    test_socket.AdoptStreamPortErrorsTestsBuilder,
    test_time.TimeTestsBuilder,
]

LEFT_OUT = (
    # There is no log context for each event: it is what Twisted's own reactor spends most on.
    "test_logPrefix",
    # How Twisted's transports name themselves, in attributes that are in no interface.
    "test_serverAddressTCP4",
    "test_serverAddressTCP6",
    # What the kernel takes at once fills no buffer: there is nothing to pause for.
    "test_streamingProducer",
    # epoll never tells of a descriptor that was closed: Twisted leaves its own EPollReactor out by name.
    "test_lostFileDescriptor",
    # About TLS of Twisted's own, which warns of the context that the test makes.
    "test_badContext",
)


for _builder in BUILDERS:
    _on_ours = type(
        f"{_builder.__name__}OnProxyReactor", (_builder,), {"_reactors": [REACTOR]} | dict.fromkeys(LEFT_OUT)
    )
    globals().update(_on_ours.makeTestCaseClasses())
