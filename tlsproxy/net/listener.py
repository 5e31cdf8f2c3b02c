"""One listen at work: accepts connections and makes a session of each."""

from collections.abc import Callable
from datetime import datetime
from socket import gethostname
from typing import Final

from attrs import evolve
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from zope.interface import implementer

from tlsproxy.config.declaration import HostName
from tlsproxy.config.model import Listen
from tlsproxy.config.prefixes import PrefixTable
from tlsproxy.config.resolve import Resolution, Resolver
from tlsproxy.config.rules import offers_tls
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import Kind
from tlsproxy.fronts.options import FrontOptions
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net.addresses import endpoint_address
from tlsproxy.net.backend import BackendConnector
from tlsproxy.net.challenges import challenge_reader
from tlsproxy.net.leg import Leg
from tlsproxy.net.proxy_header import ProxyHeaderReader
from tlsproxy.net.session import Session, SessionHost, SessionPlan
from tlsproxy.notes import LimitHit, Notify, ProxyHeaderRefused
from tlsproxy.policy.limits import Counts, Held, Limit, SessionLimits, release
from tlsproxy.tls.contexts import ContextStore

REFUSALS_LIMIT: Final = 100
"""Clients over a limit that one listen tells so at a time, which may cost a handshake each: a tenth of a second's work.
Those beyond are closed at once."""


def _now() -> datetime:
    """With the machine's time zone, as a ``Received:`` field has it."""
    return datetime.now().astimezone()


def _named(settings: Settings) -> Settings:
    """With the machine's host name, where the configuration gives none."""
    return settings if settings.smtp_hostname else evolve(settings, smtp_hostname=HostName(gethostname()))


@implementer(IProtocolFactory)
class Listener:
    """Makes the sessions of one listen.

    :ivar listen: What is listened for.
    :ivar sessions: Those that run.
    """

    noisy = False

    def __init__(
        self,
        *,
        name: str,
        listen: Listen,
        kind: Kind,
        resolver: Resolver,
        contexts: ContextStore,
        connector: BackendConnector,
        clock: IReactorTime,
        notify: Notify,
        counts: Counts,
        on_empty: Callable[[], None] = lambda: None,
    ) -> None:
        """
        :param name: The listen's address, for logs.
        :param counts: Of what limits count, in all listens and processes that have them in common.
        :param on_empty: Called whenever the last session has ended, and nobody is on the way to one.
        """
        self.name = name
        self.sessions: set[Session] = set()
        self.listen = listen
        self._trusted = PrefixTable((network, True) for network in listen.proxy_protocol_from)
        self._resolver = resolver
        self._contexts = contexts
        self._on_empty = on_empty
        self._draining = False
        self._refusals = 0
        self._readers: set[ProxyHeaderReader] = set()
        # By identity: there is one resolution for all clients with the same peers, and hashing its settings costs more.
        self._plans: dict[int, SessionPlan] = {}
        self._host = SessionHost(
            listen=name,
            kind=kind,
            connector=connector,
            clock=clock,
            notify=notify,
            opened=self._session_opened,
            ended=self._session_ended,
            counts=counts,
        )

    def doStart(self) -> None:
        """See ``IProtocolFactory``."""

    def doStop(self) -> None:
        """See ``IProtocolFactory``."""

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """What serves the connection from ``addr``. None, which closes it, where it is over a limit."""
        sender = endpoint_address(addr)
        if sender.ip is None or not self._trusted.find(sender.ip):
            return self._session(sender)
        reader = ProxyHeaderReader(
            sender=sender,
            accept=self._session,
            refused=lambda detail: self._note_header(sender, detail),
            clock=self._host.clock,
            timeout=self.listen.proxy_protocol_timeout,
            over=self._reader_over,
        )
        self._readers.add(reader)
        return reader

    def _session(self, client: ClientAddress, local: ClientAddress | None = None) -> IProtocol | None:
        resolution = self._resolver.resolution_for(client.ip)
        plan = self._plans.get(id(resolution)) or self._plan(resolution)
        held: Held = ()
        if plan.limits is not None:
            admitted = plan.limits.admit(self._host.counts, client.ip, self._host.clock.seconds())
            if isinstance(admitted, Limit):
                return self._refuse(plan, admitted, client, local)
            held = admitted
        leg: Leg = Session(self._host, plan, client, local, held=held).client
        return leg

    def _refuse(
        self, plan: SessionPlan, limit: Limit, client: ClientAddress, local: ClientAddress | None
    ) -> IProtocol | None:
        """Have the client told, if there is a way to, and not too many are being told."""
        host, session = self._host, None
        if host.kind.refusal is not None and self._refusals < REFUSALS_LIMIT:
            self._refusals += 1
            front = host.kind.refusal(plan.front_options, limit.option)
            session = Session(host, plan, client, local, refusal=front)
        host.notify(
            LimitHit(
                client=str(client),
                listen=self.name,
                session=session.identifier if session is not None else None,
                limit=limit.option,
                detail=limit.detail,
            )
        )
        leg: Leg | None = session.client if session is not None else None
        return leg

    def _plan(self, resolution: Resolution) -> SessionPlan:
        host, settings = self._host, resolution.settings
        offered = offers_tls(settings, host.kind)
        plan = self._plans[id(resolution)] = SessionPlan(
            settings,
            settings.handshake_policy,
            self._contexts.server_context(settings, host.kind) if offered else None,
            FrontOptions(
                _named(settings),
                host.connector.backend.identity,
                _now,
                challenge_reader(settings.acme_challenge_directory),
            ),
            SessionLimits.of(settings, lambda option: resolution.origins[option].path),
        )
        return plan

    def _note_header(self, sender: ClientAddress, detail: str) -> None:
        self._host.notify(ProxyHeaderRefused(listen=self.name, sender=str(sender), detail=detail))

    def drain(self) -> None:
        """Let each session end as soon as nothing would be lost by it; those that still begin behind a PROXY header too."""
        self._draining = True
        for session in list(self.sessions):
            session.drain()

    def cut(self) -> None:
        """Wait no longer for those whose session would begin behind a PROXY header."""
        for reader in list(self._readers):
            reader.abandon()

    @property
    def empty(self) -> bool:
        """Whether nobody is connected: neither with a session nor on the way to one."""
        return not self.sessions and not self._readers

    def _reader_over(self, reader: ProxyHeaderReader) -> None:
        self._readers.discard(reader)
        self._tell_if_empty()

    def _session_opened(self, session: Session) -> None:
        self.sessions.add(session)
        if self._draining:
            session.drain()

    def _session_ended(self, session: Session) -> None:
        self.sessions.discard(session)
        if session.held is None:
            self._refusals -= 1
        elif session.held:
            release(self._host.counts, session.held)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self.empty:
            self._on_empty()
