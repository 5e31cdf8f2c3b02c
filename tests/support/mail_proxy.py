"""The proxy with many ``esmtp`` listens, found by name, and a client of theirs."""

import json
import smtplib
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field, frozen

from tests.support.certificates import Issued
from tests.support.proxy import Proxy

TIMEOUT: Final = 20.0
"""Seconds that one socket operation may take."""

CLIENT: Final = "client.example"
"""The name that :func:`connect` has in EHLO."""

MODES: Final[Mapping[str, Mapping[str, Any]]] = {
    "may": {"tls_security_level": "may"},
    "encrypt": {"tls_security_level": "encrypt"},
    "wrapper": {"tls_wrappermode": True},
}
"""The ways in which a listen has TLS, with their options."""


@frozen
class MailListen:
    """A listen with a listener and a backend of its own, and with any options."""

    server: str
    options: Mapping[str, Any] = field(factory=dict)
    backend: Mapping[str, Any] = field(factory=dict)


def _table(header: str, values: Mapping[str, Any]) -> str:
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


@define
class MailProxy:
    """A running proxy. Use it as a context manager."""

    directory: Path
    certificate: Issued
    listens: Mapping[str, MailListen]
    program: Proxy = field(init=False)

    def __enter__(self) -> Self:
        self.program = Proxy.start(self.directory, self._configuration())
        try:
            self.program.wait_until(lambda: len(self.program.ports()) == len(self.listens), "not all listen")
        except BaseException:
            self.program.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.program.stop()

    def port(self, listen: str) -> int:
        return self.program.ports()[list(self.listens).index(listen)]

    def notes(self, after: int, event: str) -> list[dict[str, Any]]:
        """The notes of one event behind the first ``after`` lines of the log."""
        return [note for note in self.program.notes[after:] if note["event"] == event]

    def _configuration(self) -> str:
        parts = [
            _table(
                "",
                {
                    "tls_certificate": str(self.certificate.chain_path),
                    "tls_key": str(self.certificate.key_path),
                },
            )
        ]
        for number, listen in enumerate(self.listens.values()):
            name = f"backend-{number}"
            parts += [
                _table(f"[backend.{name}]", {"servers": [listen.server], **listen.backend}),
                _table("[[esmtp_listener]]", {"backend": name}),
                _table("[[esmtp_listener.listen]]", {"address": "127.0.0.1:0", **listen.options}),
            ]
        return "".join(parts)


def trusting(ca: Path) -> ssl.SSLContext:
    """A context that verifies, with nothing but ``ca`` to trust."""
    return ssl.create_default_context(cafile=str(ca))


def connect(
    port: int,
    mode: str,
    context: ssl.SSLContext,
    *,
    host: str = "127.0.0.1",
    source: str | None = None,
) -> smtplib.SMTP:
    """A session under TLS, before EHLO.

    :param mode: One of :data:`MODES`; or ``plain``, for a session without TLS.
    :param source: The client's address.
    """
    origin = None if source is None else (source, 0)
    if mode == "wrapper":
        return smtplib.SMTP_SSL(host, port, CLIENT, timeout=TIMEOUT, source_address=origin, context=context)
    session = smtplib.SMTP(host, port, CLIENT, timeout=TIMEOUT, source_address=origin)
    if mode != "plain":
        session.starttls(context=context)
    return session


def address_of(session: smtplib.SMTP) -> str:
    """The client's address and port, as logs have it."""
    assert session.sock is not None
    host, port, *_ = session.sock.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def say(session: smtplib.SMTP, line: str | bytes) -> int:
    """Say a line; the reply's code."""
    text = line.encode() if isinstance(line, str) else line
    session.send(text + b"\r\n")
    return session.getreply()[0]
