"""``tlsproxy demo``: the proxy in front of backends of its own, with certificates made for it."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tlsproxy.cli.check import tell
from tlsproxy.cli.demo.backends import start_backends
from tlsproxy.cli.demo.certificates import ensure_certificates
from tlsproxy.cli.demo.commands import stream_commands
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
        "--directory", default="var", help="where certificates are kept (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until interrupted. 0 after an end in order, 1 where it can't start."""
    # Imported late: importing the reactor installs it, and the other commands need none.
    from twisted.internet import reactor
    from twisted.internet.error import CannotListenError

    try:
        certificates = ensure_certificates(Path(arguments.directory), datetime.now(UTC))
        prepared = prepare(arguments.config)
        service = _start(prepared, reactor)
    except ConfigurationError as error:
        tell("error", error.problems)
        return 1
    except (TlsproxyError, CannotListenError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print_commands(prepared, service, str(certificates[0]))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 0


def _start(prepared: Prepared, reactor: Any) -> ProxyService:
    from twisted.logger import globalLogBeginner

    observer = stream_observer(prepared.configuration.log_format, sys.stdout)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    start_backends(reactor, prepared.configuration.backends)
    service = ProxyService(prepared, reactor=reactor)
    service.privilegedStartService()
    service.startService()
    return service


def _print_commands(prepared: Prepared, service: ProxyService, ca_file: str) -> None:
    print("\nTo try from another terminal, in this directory:")
    for listen, address in zip(prepared.listens, service.listening, strict=True):
        settings = listen.resolver.settings_for(None)
        print(f"\n# {address} ({listen.kind.name}): {settings.tls_protocols}")
        for expectation, command in stream_commands(address, settings, ca_file):
            print(f"# {expectation}:\n{command}")
    print("\nCtrl-C ends it.\n", flush=True)
