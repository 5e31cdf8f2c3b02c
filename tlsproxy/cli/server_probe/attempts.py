"""Attempts that a server should end: a client's renegotiation, and KeyUpdate after KeyUpdate.

Both cost the server more than the client. That it refuses is good; that it refuses and hangs up is better; that it says
nothing, and lets the client wait, ties up a connection (Momentum documents that of itself).
"""

import time
from collections.abc import Callable
from typing import Final

from tlsproxy.cli.server_probe.findings import Finding, bad, ok, unknown, warn
from tlsproxy.cli.server_probe.link import Link, NoAnswer
from tlsproxy.errors import TlsError
from tlsproxy.tls.outside.visitor import RenegotiationDeclined, Visitor

PATIENCE: Final = 3.0
"""Seconds in which a server should have reacted."""

LINGER: Final = 1.0
"""Seconds in which a server that refused may close."""

MAX_KEY_UPDATES: Final = 200
"""Sent at most: enough for any budget worth the name, and no load."""

BATCH: Final = 10
"""KeyUpdates sent at once. One of them asks for an answer, which shows that the server got so far. It isn't the last one:
OpenSSL answers when it has something else to do, such as to read the next."""


def renegotiation(link: Link, visitor: Visitor) -> Finding:
    """Ask an established connection for a renegotiation."""
    what, began = "client renegotiation", time.monotonic()
    try:
        link.send_raw(visitor.renegotiate())
        over = False
        while not over:
            received = link.receive_raw(PATIENCE)
            if not received:
                return ok(what, f"refused: closed after {_since(began)}", outcome="closed")
            answer, over = visitor.continue_renegotiation(received)
            link.send_raw(answer)
    except RenegotiationDeclined:
        after = _since(began)
        if link.is_closed_within(LINGER):
            return ok(what, f"refused by an alert, closed after {_since(began)}", outcome="closed")
        return ok(what, f"refused by an alert after {after}; the connection stays open", outcome="refused")
    except TlsError as error:
        return ok(what, f"refused: {error}", outcome="closed")
    except NoAnswer as error:
        return warn(what, f"neither refused nor done within {PATIENCE:.0f} s: {error}", outcome="ignored")
    return bad(
        what,
        f"done, in {_since(began)}: a client can make the server work (CVE-2011-1473)",
        outcome="accepted",
    )


def key_updates(link: Link, visitor: Visitor) -> Finding:
    """Send KeyUpdates to an established TLS 1.3 connection until the server ends it."""
    what, began = "KeyUpdate", time.monotonic()
    updater = visitor.key_updater()
    sent = 0
    while sent < MAX_KEY_UPDATES:
        batch = [updater.key_update(requested=number == BATCH - 2) for number in range(BATCH)]
        try:
            link.send_raw(b"".join(batch))
            sent += BATCH
            ended = _await(link, visitor, lambda: visitor.key_updates * BATCH >= sent)  # noqa: B023 - called here
        except NoAnswer as error:
            return unknown(what, f"no answer to number {sent}: {error}", sent=sent, outcome="ignored")
        if ended is not None:
            detail = f"ended after at most {sent} within {_since(began)}{ended}"
            return ok(what, detail, sent=sent, outcome="closed")
    detail = f"no limit met: {sent} within {_since(began)} are all answered"
    return warn(what, detail, sent=sent, outcome="unlimited")


def _await(link: Link, visitor: Visitor, answered: Callable[[], bool]) -> str | None:
    """Wait until the server has answered, or has ended the connection: None, or by what.

    :raises NoAnswer: It does neither.
    """
    while not answered():
        received = link.receive_raw(PATIENCE)
        if not received:
            return ""
        try:
            visitor.receive(received)
        except TlsError as error:
            return f": {error}"
    return None


def _since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
