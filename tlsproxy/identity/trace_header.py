"""The ``Received:`` field: who the client is, told in the message to a mail server that takes it no other way.

RFC 5321 §4.4 has the form, and a proxy that relays SMTP is bound to add one. Everything that a client chose is reduced to
characters that end no word, comment, clause or line.
"""

import re
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from tlsproxy.identity.client import ClientAddress, TlsFacts

MAX_DOMAIN_SIZE: Final = 255
"""Bytes of a host name (RFC 5321 §4.5.3.1.2). More of a HELO isn't shown, so that no line comes near the 998 bytes that
RFC 5322 §2.1.1 allows."""

MAX_WORD_SIZE: Final = 64
"""Bytes of any other word: longer than all names of cipher suites and our session identifiers."""

_LINE_SIZE: Final = 78  # RFC 5322 §2.1.1, without the CRLF

# (smtputf8, TLS, authenticated): RFC 3848 and RFC 6531 §4.3. SMTP without EHLO has one word for everything.
_PROTOCOLS: Final = {
    (False, False, False): "ESMTP",
    (False, False, True): "ESMTPA",
    (False, True, False): "ESMTPS",
    (False, True, True): "ESMTPSA",
    (True, False, False): "UTF8SMTP",
    (True, False, True): "UTF8SMTPA",
    (True, True, False): "UTF8SMTPS",
    (True, True, True): "UTF8SMTPSA",
}


def received_field(
    *,
    client: ClientAddress,
    helo: str | bytes | None,
    hostname: str,
    esmtp: bool,
    tls: TlsFacts | None,
    authenticated: bool,
    smtputf8: bool,
    session_id: str,
    date: datetime,
) -> bytes:
    """Write the field, CRLF at the end of its lines, to stand before the message. It is ASCII; no line begins with a dot.

    :param client: Where the client connects from.
    :param helo: What it said in HELO or EHLO, if it did.
    :param hostname: The proxy's own name.
    :param esmtp: It said EHLO.
    :param tls: The TLS of its connection; None for plaintext.
    :param authenticated: The backend accepted its AUTH.
    :param smtputf8: It gave ``SMTPUTF8`` with this message's MAIL.
    :param session_id: Identifies the session in the log.
    :param date: When the message came, with its time zone.
    :raises ValueError: ``date`` has no time zone.
    """
    if date.tzinfo is None:
        raise ValueError(f"the date of a Received: field needs a time zone, {date!r} has none")
    protocol = _PROTOCOLS[smtputf8, tls is not None, authenticated] if esmtp else "SMTP"
    clauses = [
        ["Received: from", _word(helo or "unknown", MAX_DOMAIN_SIZE), f"({_literal(client)})"],
        [
            "by",
            _word(hostname, MAX_DOMAIN_SIZE),
            "(tlsproxy)",
            "with",
            protocol,
            "id",
            _word(session_id, MAX_WORD_SIZE),
        ],
    ]
    if tls is not None:
        clauses.append(_tls_comment(tls))
    clauses[-1][-1] += ";"
    clauses.append([format_datetime(date)])
    return b"\r\n ".join(_folded(clause) for clause in clauses) + b"\r\n"


# Of what is left in a host name or address literal, none has a meaning in the field (RFC 5322 §3.2.2).
_NOT_PLAIN: Final = re.compile(r"[^0-9A-Za-z._:\[\]-]")


def _word(value: str | bytes, size: int) -> str:
    """One word: anything but the characters of host names and address literals is ``?``, as Postfix shows it."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    return _NOT_PLAIN.sub("?", text[:size])


def _literal(client: ClientAddress) -> str:
    """RFC 5321 §4.1.3."""
    if client.ip is None:
        return "local"
    return f"[IPv6:{client.ip}]" if client.ip.version == 6 else f"[{client.ip}]"


def _tls_comment(tls: TlsFacts) -> list[str]:
    version, cipher = _word(tls.version, MAX_WORD_SIZE), _word(tls.cipher, MAX_WORD_SIZE)
    return [f"(version={version}", f"cipher={cipher}", f"bits={tls.cipher_bits})"]


def _folded(clause: list[str]) -> bytes:
    """The words of a clause, on one line where they fit."""
    lines = clause[:1]
    for word in clause[1:]:
        if len(f" {lines[-1]} {word}") <= _LINE_SIZE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\r\n ".join(lines).encode("ascii")
