"""``tlsproxy demo``: the proxy in front of backends of its own, with certificates made for it."""

import argparse
import signal
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Any

from tlsproxy.cli.check import tell
from tlsproxy.cli.demo.backends import start_backends
from tlsproxy.cli.demo.certificates import ensure_certificates
from tlsproxy.cli.demo.commands import Example, Place, listen_examples, tool_examples
from tlsproxy.config.rules import offers_tls
from tlsproxy.errors import ConfigurationError, TlsproxyError
from tlsproxy.ops.logging import stream_observer
from tlsproxy.service.prepare import Prepared, prepare
from tlsproxy.service.service import ProxyService


def add_parser(subparsers: Any) -> None:
    """Add ``demo`` to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="run the proxy in front of demo backends",
        description="Makes certificates, starts demo backends and the proxy in front of them, and prints commands to try.",
    )
    parser.add_argument("--config", default="etc/demo.toml", help="configuration file (default: %(default)s)")
    parser.add_argument(
        "--directory", default="var", help="where certificates and mail are kept (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until interrupted. 0 after an end in order, 1 where it can't start."""
    # Imported late: importing the reactor installs it, and the other commands need none.
    from twisted.internet import reactor
    from twisted.internet.error import CannotListenError

    directory = Path(arguments.directory)
    try:
        ca_file = ensure_certificates(directory, datetime.now(UTC))
        prepared = prepare(arguments.config)
        service = _start(prepared, reactor, directory)
    except ConfigurationError as error:
        tell("error", error.problems)
        return 1
    except (TlsproxyError, CannotListenError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    place = Place.here(arguments.config, directory, ca_file, lambda program: which(program) is not None)
    reactor.callWhenRunning(_print_examples, prepared, service, place)
    reactor.addSystemEventTrigger("before", "shutdown", _stop, service)
    reactor.run()
    return 0


def _start(prepared: Prepared, reactor: Any, directory: Path) -> ProxyService:
    from twisted.logger import globalLogBeginner

    observer = stream_observer(prepared.configuration.log_format, sys.stdout)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    start_backends(reactor, prepared.configuration.backends, directory)
    service = ProxyService(prepared, reactor=reactor)
    service.privilegedStartService()
    service.startService()
    return service


def _stop(service: ProxyService) -> Any:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C waits for nobody
    return service.stopService()


def _print_examples(prepared: Prepared, service: ProxyService, place: Place) -> None:
    page = prepared.configuration.status_listen
    if page is not None:
        print(f"\nThe status page: http://{page}/")
    print("\nTo try from another terminal, in this directory:")
    for listen, address in zip(prepared.listens, service.listening, strict=True):
        settings = listen.resolver.settings_for(None)
        spoken = settings.tls_protocols if offers_tls(settings, listen.kind) else "plaintext"
        print(f"\n# {address} ({listen.kind.name}): {spoken}")
        _print(listen_examples(listen, address, place))
    print("\n# The configuration")
    _print(tool_examples(prepared.listens[0], place))
    print("\nCtrl-C ends it.\n", flush=True)


def _print(examples: Iterable[Example]) -> None:
    for example in examples:
        print(f"# {example.promise}:\n{example.command}")
