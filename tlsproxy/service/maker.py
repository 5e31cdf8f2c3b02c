"""``twistd tlsproxy``: the command line of the plugin, and the service it makes."""

from typing import Any, ClassVar

from twisted.python import usage

from tlsproxy.errors import ConfigurationError, TlsproxyError
from tlsproxy.ops.logging import twistd_observer
from tlsproxy.service.prepare import prepare
from tlsproxy.service.service import ProxyService


class TwistdService(ProxyService):
    """The service as twistd's child: a socket that can't be had ends the start with a message, not with a traceback."""

    def privilegedStartService(self) -> None:
        """See :class:`~tlsproxy.service.service.ProxyService`.

        :raises SystemExit: A socket can't be opened, or wasn't handed over.
        """
        try:
            super().privilegedStartService()
        except TlsproxyError as error:
            raise SystemExit(f"tlsproxy: {error}") from None


class Options(usage.Options):
    """Options after ``twistd tlsproxy``."""

    synopsis = "[twistd options] tlsproxy --config FILE"
    longdesc = "TLS-terminating proxy for mail servers too old to be given modern TLS."
    optParameters: ClassVar[list[list[Any]]] = [
        ["config", "c", "/etc/tlsproxy/tlsproxy.toml", "Configuration file (TOML)."],
    ]


def makeService(options: Options) -> TwistdService:
    """Make the service for ``twistd``. Files are read here, before privileges are given up.

    :raises SystemExit: The configuration can't be used; every problem is told on standard error.
    """
    # Imported late: importing a reactor installs it, and twistd's --reactor has to come first.
    from twisted.internet import reactor

    try:
        prepared = prepare(options["config"])
    except ConfigurationError as error:
        lines = [f"error: {problem}" for problem in error.problems]
        raise SystemExit("\n".join(["tlsproxy: the configuration can't be used", *lines])) from None
    log_format = prepared.configuration.log_format
    observer = twistd_observer(log_format, options.parent or {})
    return TwistdService(prepared, reactor=reactor, log_observer=observer)
