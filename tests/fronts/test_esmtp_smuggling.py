"""Nothing that a client sends becomes a command of :mod:`tlsproxy.fronts.esmtp`'s that it didn't mean as one.

XCLIENT is the probe: as a command the proxy never sends it on, so a server that sees one was made to see it in a message,
in an AUTH response, or in a line that it reads otherwise than the proxy.
"""

import re
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fronts.conftest import OPENED, TLS, front
from tests.support.lenient_server import Wired
from tests.support.playbook import wire
from tlsproxy.fronts.events import BackendLost, DrainRequested, IdleTimedOut
from tlsproxy.fronts.options import BareNewline, IdentityMode, InjectionPolicy, TlsSecurityLevel

PROBE = b"XCLIENT ADDR=127.0.0.1"

PIECES = [
    b"EHLO c\r\n",
    b"HELO c\r\n",
    b"MAIL FROM:<a>\r\n",
    b"MAIL FROM:<a> SIZE=5\r\n",
    b"RCPT TO:<b>\r\n",
    b"DATA\r\n",
    b"BDAT 5\r\n",
    b"BDAT 30 LAST\r\n",
    b"BDAT 0\r\n",
    b"BDAT 4294967301\r\n",
    b"AUTH LOGIN\r\n",
    b"RSET\r\n",
    b"STARTTLS\r\n",
    b"NOOP",
    b"text",
    b"\r\n.\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b".",
    b" ",
    b"\x0b",
    PROBE,
    PROBE + b"\r\n",
    b"\n.\n" + PROBE + b"\n",
    b"\r.\r" + PROBE + b"\r",
    b"\r\n.\n" + PROBE + b"\r\n",
    b"\n.\r\n" + PROBE + b"\r\n",
    b"\r\n.\r\r\n" + PROBE + b"\r\n",
    b"\r\n.\0\r\n" + PROBE + b"\r\n",
    b"x" * 3000,
]


class Smuggler(RuleBasedStateMachine):
    """A client that tries, in front of a server that takes anything."""

    mode: ClassVar[BareNewline]
    wired: Wired

    @initialize(
        identity=st.sampled_from([IdentityMode.NONE, IdentityMode.TRACE_HEADER]),
        level=st.sampled_from(TlsSecurityLevel),
        wrapper=st.booleans(),
        injection=st.sampled_from(InjectionPolicy),
    )
    def open(
        self, identity: IdentityMode, level: TlsSecurityLevel, injection: InjectionPolicy, *, wrapper: bool
    ) -> None:
        options = {
            "tls_security_level": level,
            "tls_wrappermode": wrapper,
            "starttls_injection_policy": injection,
        }
        self.wired = Wired(front(identity, smtp_bare_newline=self.mode, tls_auth_only=False, **options), TLS)
        self.wired.tell(OPENED)

    @rule(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
    def say(self, pieces: list[bytes]) -> None:
        self.wired.client_says(b"".join(pieces))

    @rule(size=st.sampled_from([1, 20, None]))
    def deliver(self, size: int | None) -> None:
        self.wired.deliver(size)

    @rule()
    def deliver_everything(self) -> None:
        while self.wired.deliver():
            pass

    @precondition(lambda self: self.wired.tls_awaited)
    @rule()
    def start_tls(self) -> None:
        self.wired.start_tls()

    @rule(event=st.sampled_from([BackendLost("reset"), DrainRequested(), IdleTimedOut()]))
    def something_happens(self, event: object) -> None:
        if len(self.wired.commands) > 3:  # not before it has become interesting
            self.wired.tell(event)  # type: ignore[arg-type]

    @invariant()
    def no_probe_arrives(self) -> None:
        assert not [command for command in self.wired.commands if re.search(rb"(?i)^XCLIENT", command)]

    @invariant()
    def the_client_learns_of_no_message_that_was_not_accepted(self) -> None:
        accepted = [
            b"250 queued as %d\r\n" % number
            for server in self.wired.servers
            for number in range(1, len(server.messages) + 1)
        ]
        told = re.findall(rb"250 queued as \d+\r\n", self.wired.client)
        assert told == accepted[: len(told)]


class RejectingSmuggler(Smuggler):
    mode = BareNewline.REJECT


class NormalizingSmuggler(Smuggler):
    mode = BareNewline.NORMALIZE


_STEPS = settings(stateful_step_count=30)

TestReject = RejectingSmuggler.TestCase
TestReject.settings = _STEPS
TestNormalize = NormalizingSmuggler.TestCase
TestNormalize.settings = _STEPS

CONTENTS = [piece for piece in PIECES if PROBE in piece and piece[:1] in b"\r\n"]


def after_content(mode: BareNewline, content: bytes) -> Wired:
    """A message with this content was sent, up to its end."""
    wired = Wired(front(smtp_bare_newline=mode), TLS)
    wired.tell(OPENED)
    for said in (
        wire("EHLO c"),
        wire("MAIL FROM:<a>"),
        wire("RCPT TO:<b>"),
        wire("DATA"),
        b"text" + content + b"\r\n.\r\n",
    ):
        while wired.deliver():
            pass
        wired.client_says(said)
    return wired


@pytest.mark.parametrize("content", CONTENTS)
def test_without_the_guard_the_server_sees_the_probe(content: bytes) -> None:
    assert PROBE in after_content(BareNewline.PASS, content).commands


@pytest.mark.parametrize("mode", [BareNewline.REJECT, BareNewline.NORMALIZE])
@pytest.mark.parametrize("content", CONTENTS)
def test_with_it_the_server_sees_none(content: bytes, mode: BareNewline) -> None:
    wired = after_content(mode, content)
    assert PROBE not in wired.commands
    assert len(wired.servers[0].messages) == (mode is BareNewline.NORMALIZE)
