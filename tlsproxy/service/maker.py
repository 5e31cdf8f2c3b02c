"""``twistd tlsproxy``: the command line of the plugin, and the service it makes."""

from collections.abc import Mapping
from typing import Any, ClassVar

from twisted.python import usage

from tlsproxy.errors import ConfigurationError, TlsproxyError
from tlsproxy.ops.logging import twistd_observer
from tlsproxy.service.base import Surroundings, TlsproxyService
from tlsproxy.service.prepare import prepare
from tlsproxy.service.reactors import reactor_of
from tlsproxy.service.service import ProxyService


class _ToldPlainly(TlsproxyService):
    """The service as twistd's child: a socket that can't be had ends the start with a message, not with a traceback.

    :ivar daemon: Whether twistd was to put itself into the background.
    """

    daemon = False

    def privilegedStartService(self) -> None:
        """See :class:`~tlsproxy.service.base.TlsproxyService`.

        :raises SystemExit: A socket can't be opened, or wasn't handed over.
        :raises TlsproxyError: The same in a daemon: an exception of this kind is what twistd carries to the process that
            waits for the start. For any other that one would wait without end.
        """
        try:
            super().privilegedStartService()
        except TlsproxyError as error:
            if self.daemon:
                raise
            raise SystemExit(f"tlsproxy: {error}") from None


class TwistdService(_ToldPlainly, ProxyService):
    """One process."""


class Options(usage.Options):
    """Options after ``twistd tlsproxy``."""

    synopsis = "[twistd options] tlsproxy --config FILE"
    longdesc = "TLS-terminating proxy for mail servers too old to be given modern TLS."
    optParameters: ClassVar[list[list[Any]]] = [
        ["config", "c", "/etc/tlsproxy/tlsproxy.toml", "Configuration file (TOML)."],
    ]
    optFlags: ClassVar[list[list[Any]]] = [
        [
            "take-over",
            None,
            "Take the place of the service at the control_socket, which drains then. Each needs its own --pidfile.",
        ],
    ]


def makeService(options: Options) -> TlsproxyService:
    """Make the service for ``twistd``. Files are read here, before privileges are given up.

    :raises SystemExit: The configuration can't be used; every problem is told on standard error.
    """
    parent: Mapping[str, Any] = options.parent or {}
    surroundings = Surroundings(
        owner=_owner(parent), take_over=bool(options["take-over"]), handle_signals="nodaemon" in parent
    )
    try:
        prepared = prepare(options["config"])
    except ConfigurationError as error:
        lines = [f"error: {problem}" for problem in error.problems]
        raise SystemExit("\n".join(["tlsproxy: the configuration can't be used", *lines])) from None
    reactor = reactor_of(parent.get("reactor"))
    if surroundings.handle_signals:
        surroundings.exit_status.register()
    configuration = prepared.configuration
    observer = twistd_observer(configuration.log_format, parent)
    service: _ToldPlainly
    if configuration.workers.number == 1:
        service = TwistdService(prepared, reactor=reactor, log_observer=observer, surroundings=surroundings)
    else:
        service = _supervisor()(
            configuration,
            reactor=reactor,
            log_observer=observer,
            surroundings=surroundings,
            workers_reactor=parent.get("reactor"),
        )
    service.daemon = parent.get("nodaemon") == 0
    return service


def _supervisor() -> type[Any]:
    # Imported for those who have workers: the others start 20 ms sooner.
    from tlsproxy.service.supervisor import SupervisorService

    class TwistdSupervisor(_ToldPlainly, SupervisorService):
        """Several."""

    return TwistdSupervisor


def _owner(parent: Mapping[str, Any]) -> tuple[int, int] | None:
    """Who the process will be (``--uid``, ``--gid``); -1 for what stays as it is, as chown(2) has it."""
    uid, gid = parent.get("uid"), parent.get("gid")
    if uid is None and gid is None:
        return None
    return (-1 if uid is None else uid, -1 if gid is None else gid)
