"""The commands that the demonstration prints: derived from the settings in force, so that what they promise is so."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from tlsproxy.cli.demo.backends import MAILDIR
from tlsproxy.config.settings import Settings
from tlsproxy.fronts.options import IdentityMode, TlsSecurityLevel
from tlsproxy.policy.handshakes import Outcome
from tlsproxy.policy.protocols import TlsVersion
from tlsproxy.service.prepare import PreparedListen

_FLAGS: Final = {
    TlsVersion.TLS1_0: "-tls1",
    TlsVersion.TLS1_1: "-tls1_1",
    TlsVersion.TLS1_2: "-tls1_2",
    TlsVersion.TLS1_3: "-tls1_3",
}
_RENEGOTIABLE: Final = (TlsVersion.TLS1_2, TlsVersion.TLS1_1, TlsVersion.TLS1_0)

SENDER, RECIPIENT = "you@client.test", "you@demo.test"
"""The embedded mail server takes mail for the domain of the second."""


@frozen
class Example:
    """A command to paste."""

    promise: str
    """What will be seen."""
    command: str


@frozen
class Place:
    """Where commands find what they need. Relative paths are as seen from where the demonstration was started."""

    program: str
    """``tlsproxy`` itself."""
    config: str
    directory: Path
    """Where certificates and mail are."""
    ca_file: Path
    installed: Callable[[str], bool]
    """Whether a program is there."""

    @classmethod
    def here(cls, config: str, directory: Path, ca_file: Path, installed: Callable[[str], bool]) -> "Place":
        """For the running program."""
        called = Path(sys.argv[0])
        program = str(called) if called.name == "tlsproxy" else "tlsproxy"
        return cls(program, config, directory, ca_file, installed)


@frozen
class _Target:
    """A listen, as a client sees it."""

    address: str
    """``host:port``"""
    settings: Settings
    identity: IdentityMode
    place: Place
    smtp: bool = False

    @property
    def starttls(self) -> bool:
        return self.smtp and not self.settings.tls_wrappermode

    @property
    def harmless(self) -> str:
        """A line to say."""
        return "NOOP" if self.smtp else "hello"

    @property
    def host_and_port(self) -> tuple[str, str]:
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), port

    def s_client(self, version: TlsVersion) -> str:
        starttls = " -starttls smtp" if self.starttls else ""
        line_ends = " -crlf" if self.smtp else ""
        # OpenSSL's own default level refuses the signatures of TLS 1.0 and 1.1.
        cipher = "" if version >= TlsVersion.TLS1_2 else " -cipher DEFAULT@SECLEVEL=0"
        ca_file = shlex.quote(str(self.place.ca_file))
        where = f"-connect {self.address}{starttls}{line_ends}"
        return f"openssl s_client {where} {_FLAGS[version]}{cipher} -CAfile {ca_file}"


def listen_examples(listen: PreparedListen, address: str, place: Place) -> Iterator[Example]:
    """What to try on one listen.

    :param address: ``host:port`` to connect to.
    """
    settings = listen.resolver.settings_for(None)
    kind = listen.kind.name
    if kind in _OF_KIND:
        target = _Target(address, settings, listen.backend.identity, place, smtp=kind == "esmtp")
        yield from _OF_KIND[kind](target)


def tool_examples(listen: PreparedListen, place: Place) -> Iterator[Example]:
    """What to try on the configuration."""
    program, config = shlex.quote(place.program), shlex.quote(place.config)
    yield Example("what there is to say about the configuration", f"{program} check {config}")
    yield Example(
        "the options in force for a client, and where each comes from",
        f"{program} eval {config} --listen {listen.listen.address} --peer 192.0.2.1",
    )
    yield Example(
        "whether the mail server relays for all the world", f"{program} probe {config} --relay-test"
    )


def _stream(target: _Target) -> Iterator[Example]:
    for version in TlsVersion:
        client = target.s_client(version)
        yield Example(_verdict(target, version), f"(echo hello; sleep 1) | {client} -brief")
    yield from _renegotiation(target)


def _esmtp(target: _Target) -> Iterator[Example]:
    new = shlex.quote(str(target.place.directory / MAILDIR / "new"))
    yield Example(f"a message is taken, and is in {new}", _send(target))
    told = target.identity in (IdentityMode.PROXY_V2, IdentityMode.TRACE_HEADER)
    on_top = ", with the client and its TLS in the Received: field on top" if told else ""
    yield Example(f"the message{on_top}", f'cat "$(ls -td {new}/* | head -n 1)"')
    if target.starttls and target.settings.tls_security_level is TlsSecurityLevel.NONE:
        return
    for version in (TlsVersion.TLS1_1, TlsVersion.TLS1_3):
        yield Example(_verdict(target, version), f"{target.s_client(version)} -brief </dev/null")
    yield from _renegotiation(target)


def _http(target: _Target) -> Iterator[Example]:
    _, port = target.host_and_port
    if target.settings.tls_security_level is TlsSecurityLevel.NONE:
        yield Example(
            "plaintext is redirected to https", f"curl --silent --show-error --head http://localhost:{port}/"
        )
        return
    curl = f"curl --silent --show-error --cacert {shlex.quote(str(target.place.ca_file))}"
    spoofed = "--header 'X-Forwarded-For: 192.0.2.1'"
    yield Example(
        "the backend is told who the client is, and doesn't hear what the client says of that",
        f"{curl} {spoofed} https://localhost:{port}/",
    )
    yield Example(
        "a request that could be seen as two is refused",
        f"{curl} --include --header 'Transfer-Encoding: chunked' --header 'Content-Length: 4' --data smug https://localhost:{port}/",
    )
    for version in (TlsVersion.TLS1_1, TlsVersion.TLS1_3):
        yield Example(_verdict(target, version), f"{target.s_client(version)} -brief </dev/null")


_OF_KIND: Final[Mapping[str, Callable[[_Target], Iterator[Example]]]] = {
    "esmtp": _esmtp,
    "http": _http,
    "stream": _stream,
}


def _verdict(target: _Target, version: TlsVersion) -> str:
    verdict = "accepted" if target.settings.tls_protocols.allows(version) else "refused"
    return f"{version.label} is {verdict}"


def _renegotiation(target: _Target) -> Iterator[Example]:
    allowed = [version for version in _RENEGOTIABLE if target.settings.tls_protocols.allows(version)]
    if not allowed:
        return
    outcome = target.settings.handshake_policy.renegotiation_outcome(1)
    promise = {
        Outcome.ALLOWED: "a renegotiation attempt (R) is allowed",
        Outcome.WARNED: "a renegotiation attempt (R) is answered with no_renegotiation; tlsproxy goes on, openssl doesn't",
        Outcome.CLOSED: "a renegotiation attempt (R) is answered with no_renegotiation, the connection is closed",
    }[outcome]
    # What begins with Q or R is meant for s_client itself.
    said = f"(echo {target.harmless}; sleep 1; echo R; sleep 1; echo {target.harmless}; sleep 1)"
    yield Example(promise, f"{said} | {target.s_client(allowed[0])}")


def _send(target: _Target) -> str:
    host, port = target.host_and_port
    ca_file = str(target.place.ca_file)
    if target.place.installed("swaks"):
        tls = "--tls" if target.starttls else "--tls-on-connect"
        return (
            f"swaks --server {host} --port {port} {tls} --tls-verify --tls-ca-path {shlex.quote(ca_file)} "
            f"--from {SENDER} --to {RECIPIENT} --body 'by way of tlsproxy'"
        )
    context = f"context=ssl.create_default_context(cafile={ca_file!r})"
    connect = (
        f"s = smtplib.SMTP({host!r}, {port}); s.starttls({context})"
        if target.starttls
        else f"s = smtplib.SMTP_SSL({host!r}, {port}, {context})"
    )
    message = r"Subject: test\r\n\r\nby way of tlsproxy\r\n"
    send = f"s.sendmail({SENDER!r}, {RECIPIENT!r}, '{message}'); s.quit()"
    # In double quotes the shell leaves \r and \n to Python.
    return f'python3 -c "import smtplib, ssl; {connect}; {send}"'
