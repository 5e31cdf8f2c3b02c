"""One listen at work: accepts connections and makes a session of each."""

from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from zope.interface import implementer

from tlsproxy.config.resolve import Resolver
from tlsproxy.config.settings import Settings
from tlsproxy.errors import OptionsError
from tlsproxy.fronts import Kind
from tlsproxy.net.addresses import endpoint_address
from tlsproxy.net.backend import BackendConnector
from tlsproxy.net.leg import Leg
from tlsproxy.net.session import Session, SessionHost, SessionPlan
from tlsproxy.notes import ConfigurationWarned, Notify
from tlsproxy.tls.contexts import ContextStore


@implementer(IProtocolFactory)
class Listener:
    """Makes the sessions of one listen.

    :ivar sessions: Those that run.
    """

    noisy = False

    def __init__(
        self,
        *,
        name: str,
        kind: Kind,
        resolver: Resolver,
        contexts: ContextStore,
        connector: BackendConnector,
        clock: IReactorTime,
        notify: Notify,
        on_empty: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.sessions: set[Session] = set()
        self._kind = kind
        self._resolver = resolver
        self._contexts = contexts
        self._notify = notify
        self._on_empty = on_empty
        # By identity: the resolver hands out one object for equal paths through the scopes, and hashing one costs more.
        self._plans: dict[int, SessionPlan] = {}
        self._host = SessionHost(
            listen=name,
            kind=kind,
            connector=connector,
            clock=clock,
            notify=notify,
            opened=self.sessions.add,
            ended=self._session_ended,
        )

    def doStart(self) -> None:
        """See ``IProtocolFactory``."""

    def doStop(self) -> None:
        """See ``IProtocolFactory``."""

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """A session for the client at ``addr``. None, which closes the connection, where its settings can't be used."""
        client = endpoint_address(addr)
        settings = self._resolver.settings_for(client.ip)
        plan = self._plans.get(id(settings)) or self._plan(settings)
        if plan is None:
            return None
        leg: Leg = Session(self._host, plan, client).client
        return leg

    def _plan(self, settings: Settings) -> SessionPlan | None:
        """Two peer scopes, each fine by itself, can meet in one client for the first time here."""
        try:
            context = self._contexts.server_context(settings, self._kind)
        except OptionsError as error:
            for option, message in error.problems:
                self._notify(ConfigurationWarned(path=f"listen {self.name}: {option}", message=message))
            return None
        plan = self._plans[id(settings)] = SessionPlan(settings, settings.handshake_policy, context)
        return plan

    def _session_ended(self, session: Session) -> None:
        self.sessions.discard(session)
        if not self.sessions:
            self._on_empty()
