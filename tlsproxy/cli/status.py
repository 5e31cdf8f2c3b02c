"""``tlsproxy status``: how a running service is, asked through its control socket or its status page."""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from tlsproxy.errors import ConfigurationError, TlsproxyError

UNREACHABLE: Final = 3
"""Exit status where no service answers."""

TIMEOUT: Final = 10.0
"""Seconds for an answer: a service asks its workers, and waits two for them."""

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes: the status of many workers with thousands of series each."""


class _NoStatusError(TlsproxyError):
    """There is nothing to show."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "status",
        help="show how a running service is",
        description="Show how a running service is: what is wrong, its listeners with the policy in force, its backends, "
        "certificates and processes, and what it counted. The exit status is 0 if all is in order, 1 if there is a "
        "problem, 3 if no service answers.",
    )
    parser.add_argument("socket", metavar="SOCKET", nargs="?", help="the file that control_socket names")
    parser.add_argument(
        "--config", metavar="FILE", help="the configuration file that sets control_socket or status_listen"
    )
    parser.add_argument(
        "--url", metavar="URL", help="where the status page is, instead: http://127.0.0.1:9466/"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with every figure of every process")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the status."""
    if sum(given is not None for given in (arguments.socket, arguments.config, arguments.url)) != 1:
        print(
            "error: name the control socket, the configuration file by --config, or the page by --url",
            file=sys.stderr,
        )
        return 2
    try:
        values = _ask(arguments)
        return _tell(values, as_json=arguments.json)
    except ConfigurationError as error:
        from tlsproxy.cli.check import tell

        tell("error", error.problems)
    except TlsproxyError as error:
        print(f"error: {error}", file=sys.stderr)
    return UNREACHABLE


def _ask(arguments: argparse.Namespace) -> Mapping[str, Any]:
    if arguments.url is not None:
        return _from_page(arguments.url)
    if arguments.socket is not None:
        return _from_socket(arguments.socket)
    return _from_configured(arguments.config)


def _from_configured(config: str) -> Mapping[str, Any]:
    from tlsproxy.config.parse import load

    configuration = load(config)
    if configuration.control_socket is not None:
        return _from_socket(configuration.control_socket)
    if configuration.status_listen is not None:
        return _from_page(f"http://{configuration.status_listen}/")
    raise _NoStatusError(f"{config} sets neither control_socket nor status_listen: there is nobody to ask")


def _from_socket(path: str) -> Mapping[str, Any]:
    from tlsproxy.service.control_client import problems_of, request

    answer = request(path, "status", TIMEOUT)
    status = answer.get("status")
    if not isinstance(status, dict):
        raise _NoStatusError("; ".join(problems_of(answer)) or "the service's answer has no status in it")
    return status


def _from_page(url: str) -> Mapping[str, Any]:
    if urlsplit(url).scheme not in ("http", "https"):
        raise _NoStatusError(f'the URL must begin with "http://" or "https://", not be "{url}"')
    # A proxy in the environment is for other hosts than the one whose loopback is asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/status.json", timeout=TIMEOUT) as answer:
            content = answer.read(MAX_ANSWER + 1)
        values = json.loads(content)
    except (OSError, HTTPException) as error:
        raise _NoStatusError(f"can't read {url}: {getattr(error, 'reason', error)}") from error
    except ValueError as error:
        raise _NoStatusError(f"what {url} answers is no status of tlsproxy") from error
    if not isinstance(values, dict):
        raise _NoStatusError(f"what {url} answers is no status of tlsproxy")
    return values


def _tell(values: Mapping[str, Any], *, as_json: bool) -> int:
    from tlsproxy.ops.status.model import service_from_values
    from tlsproxy.ops.status.overview import findings
    from tlsproxy.ops.status.text import as_text

    try:
        status = service_from_values(values)
    except Exception as error:
        raise _NoStatusError("the answer is no status of this version of tlsproxy") from error
    now = time.time()
    if as_json:
        print(json.dumps(values, indent=2))
    else:
        print("\n".join(as_text(status, now)))
    return int(any(finding.grave for finding in findings(status, now)))
