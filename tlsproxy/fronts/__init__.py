"""Protocol machines that speak to clients: events in, commands out, no I/O.

A kind of listener is one file here and one row in ``KINDS``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from attrs import frozen

from tlsproxy.fronts.commands import Command
from tlsproxy.fronts.esmtp import EsmtpFront
from tlsproxy.fronts.events import Event
from tlsproxy.fronts.http import HttpFront
from tlsproxy.fronts.options import FrontOptions, IdentityMode
from tlsproxy.fronts.refusal import HttpRefusal, SmtpRefusal
from tlsproxy.fronts.stream import StreamFront
from tlsproxy.policy.pace import Due


class Front(Protocol):
    """The protocol machine of one session."""

    @property
    def client_name(self) -> bytes | None:
        """The name that the client last gave for itself; None before it did, and in protocols that ask for none."""

    @property
    def due(self) -> Due:
        """What the client has to send at the moment."""

    @property
    def step(self) -> int:
        """Another number whenever something else became due."""

    def handle(self, event: Event) -> Sequence[Command]:
        """Take an event; what is to be done, in order."""


@frozen
class Kind:
    """A kind of listener."""

    name: str
    """As in the configuration: ``stream`` for ``[[stream_listener]]``."""
    front: Callable[[FrontOptions], Front]
    identities: frozenset[IdentityMode]
    """What its backends' ``identity`` may be."""
    smtp: bool = False
    """Its backends' servers greet as SMTP servers do."""
    tls_from_start: bool = False
    """Its sessions begin with a handshake, whatever the settings."""
    alpn_protocols: tuple[str, ...] = ()
    """Offered by ALPN where ``tls_alpn_protocols`` says nothing."""
    refusal: Callable[[FrontOptions, str], Front] | None = None
    """Makes what tells a client that the limit set by an option is reached. None: nothing can be told in this protocol."""


_BELOW_PROTOCOLS: Final = frozenset(
    {IdentityMode.NONE, IdentityMode.PROXY_V1, IdentityMode.PROXY_V2, IdentityMode.TRANSPARENT}
)
"""Ways to tell who the client is that need nothing of the protocol spoken."""

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("esmtp", EsmtpFront, frozenset(IdentityMode), smtp=True, refusal=SmtpRefusal),
        Kind("http", HttpFront, _BELOW_PROTOCOLS, alpn_protocols=("http/1.1",), refusal=HttpRefusal),
        Kind("stream", StreamFront, _BELOW_PROTOCOLS, tls_from_start=True),
    )
}
