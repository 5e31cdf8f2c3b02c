"""Protocol machines that speak to clients: events in, commands out, no I/O.

A kind of listener is one file here and one row in ``KINDS``. The files of a kind are imported when it is asked for: HTTP's
parser and tables are 3 MiB that a mail server's proxy has no use for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from attrs import define, field, frozen

from tlsproxy.fronts.commands import Command
from tlsproxy.fronts.events import Event
from tlsproxy.fronts.options import FrontOptions, IdentityMode
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


def _esmtp() -> Kind:
    from tlsproxy.fronts.esmtp import EsmtpFront
    from tlsproxy.fronts.refusal import SmtpRefusal

    return Kind("esmtp", EsmtpFront, frozenset(IdentityMode), smtp=True, refusal=SmtpRefusal)


def _http() -> Kind:
    from tlsproxy.fronts.http import HttpFront
    from tlsproxy.fronts.refusal import HttpRefusal

    return Kind("http", HttpFront, _BELOW_PROTOCOLS, alpn_protocols=("http/1.1",), refusal=HttpRefusal)


def _stream() -> Kind:
    from tlsproxy.fronts.stream import StreamFront

    return Kind("stream", StreamFront, _BELOW_PROTOCOLS, tls_from_start=True)


@define(eq=False)
class _Kinds(Mapping[str, Kind]):
    """Kinds by name, each made when it is first asked for."""

    _makers: Mapping[str, Callable[[], Kind]]
    _made: dict[str, Kind] = field(factory=dict, init=False)

    def __getitem__(self, name: str) -> Kind:
        kind = self._made.get(name)
        if kind is None:
            kind = self._made[name] = self._makers[name]()
        return kind

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __contains__(self, name: object) -> bool:
        return name in self._makers


KINDS: Mapping[str, Kind] = _Kinds({"esmtp": _esmtp, "http": _http, "stream": _stream})
