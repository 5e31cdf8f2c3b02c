"""Notes and rows for tests of the report."""

from typing import Any

from tests.ops.notes import sample
from tlsproxy.notes import Note, TlsEstablished, WouldBeRefused
from tlsproxy.ops.report.entries import SECONDS_IN_DAY, ClientRow, SessionCount

LISTEN = "0.0.0.0:25"
CANDIDATE = "TLSv1.2 TLSv1.3"
NOW = 20_000 * SECONDS_IN_DAY + 3600.0


def refused(**values: Any) -> Note:
    """A scanner's session was seen."""
    facts: dict[str, Any] = {
        "listen": LISTEN,
        "candidate": CANDIDATE,
        "network": "10.3.7.0/24",
        "version": "TLSv1",
        "offered": "<=TLSv1",
        "cipher": "AES128-SHA",
        "server_name": None,
        "helo": "scanner",
    }
    return sample(WouldBeRefused, **facts | values)


def established(version: str = "TLSv1.3", **values: Any) -> Note:
    """A handshake is done, with a candidate that doesn't mind."""
    facts = {"listen": LISTEN, "candidate": CANDIDATE, "would_be_refused": False}
    return sample(TlsEstablished, version=version, **facts | values)


def row(**values: Any) -> ClientRow:
    facts: dict[str, Any] = {
        "listen": LISTEN,
        "candidate": CANDIDATE,
        "network": "10.3.7.0/24",
        "version": "TLSv1",
        "helo": "scanner",
        "server_name": None,
        "offered": "<=TLSv1",
        "cipher": "AES128-SHA",
        "sessions": 1,
        "first_seen": NOW,
        "last_seen": NOW,
    }
    return ClientRow(**facts | values)


def count(**values: Any) -> SessionCount:
    facts: dict[str, Any] = {
        "listen": LISTEN,
        "candidate": CANDIDATE,
        "version": "TLSv1",
        "day": int(NOW // SECONDS_IN_DAY),
        "sessions": 1,
        "refused": 1,
    }
    return SessionCount(**facts | values)
