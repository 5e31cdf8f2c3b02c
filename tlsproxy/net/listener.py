"""One listen at work: accepts connections and makes a session of each."""

from collections.abc import Callable
from datetime import datetime
from socket import gethostname

from attrs import evolve
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from zope.interface import implementer

from tlsproxy.config.declaration import HostName
from tlsproxy.config.model import Listen
from tlsproxy.config.prefixes import PrefixTable
from tlsproxy.config.resolve import Resolver
from tlsproxy.config.rules import offers_tls
from tlsproxy.config.settings import Settings
from tlsproxy.errors import OptionsError
from tlsproxy.fronts import Kind
from tlsproxy.fronts.options import FrontOptions
from tlsproxy.identity.client import ClientAddress
from tlsproxy.net.addresses import endpoint_address
from tlsproxy.net.backend import BackendConnector
from tlsproxy.net.challenges import challenge_reader
from tlsproxy.net.leg import Leg
from tlsproxy.net.proxy_header import ProxyHeaderReader
from tlsproxy.net.session import Session, SessionHost, SessionPlan
from tlsproxy.notes import ConfigurationWarned, Notify, ProxyHeaderRefused
from tlsproxy.tls.contexts import ContextStore


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
        on_empty: Callable[[], None] = lambda: None,
    ) -> None:
        """
        :param name: The listen's address, for logs.
        :param on_empty: Called whenever the last session has ended.
        """
        self.name = name
        self.sessions: set[Session] = set()
        self.listen = listen
        self._trusted = PrefixTable((network, True) for network in listen.proxy_protocol_from)
        self._resolver = resolver
        self._contexts = contexts
        self._on_empty = on_empty
        self._draining = False
        # By identity: the resolver hands out one object for equal paths through the scopes, and hashing one costs more.
        self._plans: dict[int, SessionPlan] = {}
        self._host = SessionHost(
            listen=name,
            kind=kind,
            connector=connector,
            clock=clock,
            notify=notify,
            opened=self._session_opened,
            ended=self._session_ended,
        )

    def doStart(self) -> None:
        """See ``IProtocolFactory``."""

    def doStop(self) -> None:
        """See ``IProtocolFactory``."""

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """What serves the connection from ``addr``. None, which closes it, where its settings can't be used."""
        sender = endpoint_address(addr)
        if sender.ip is None or not self._trusted.find(sender.ip):
            return self._session(sender)
        return ProxyHeaderReader(
            sender=sender,
            accept=self._session,
            refused=lambda detail: self._note_header(sender, detail),
            clock=self._host.clock,
            timeout=self.listen.proxy_protocol_timeout,
        )

    def _session(self, client: ClientAddress, local: ClientAddress | None = None) -> IProtocol | None:
        settings = self._resolver.settings_for(client.ip)
        plan = self._plans.get(id(settings)) or self._plan(settings)
        if plan is None:
            return None
        leg: Leg = Session(self._host, plan, client, local).client
        return leg

    def _plan(self, settings: Settings) -> SessionPlan | None:
        """Two peer scopes, each fine by itself, can meet in one client for the first time here."""
        host = self._host
        try:
            offered = offers_tls(settings, host.kind)
            context = self._contexts.server_context(settings, host.kind) if offered else None
        except OptionsError as error:
            for option, message in error.problems:
                host.notify(ConfigurationWarned(path=f"listen {self.name}: {option}", message=message))
            return None
        options = FrontOptions(
            _named(settings),
            host.connector.backend.identity,
            _now,
            challenge_reader(settings.acme_challenge_directory),
        )
        plan = self._plans[id(settings)] = SessionPlan(settings, settings.handshake_policy, context, options)
        return plan

    def _note_header(self, sender: ClientAddress, detail: str) -> None:
        self._host.notify(ProxyHeaderRefused(listen=self.name, sender=str(sender), detail=detail))

    def drain(self) -> None:
        """Let each session end as soon as nothing would be lost by it; those that still begin behind a PROXY header too."""
        self._draining = True
        for session in list(self.sessions):
            session.drain()

    def _session_opened(self, session: Session) -> None:
        self.sessions.add(session)
        if self._draining:
            session.drain()

    def _session_ended(self, session: Session) -> None:
        self.sessions.discard(session)
        if not self.sessions:
            self._on_empty()
