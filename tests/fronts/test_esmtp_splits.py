"""No split and no order of arrival changes what :mod:`tlsproxy.fronts.esmtp` makes of a dialogue."""

from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fronts.conftest import OPENED, TLS, front
from tests.support.lenient_server import Wired
from tests.support.playbook import wire
from tlsproxy.fronts.options import BareNewline, IdentityMode, TlsSecurityLevel

PLAIN = wire(
    "EHLO c.example",
    "MAIL FROM:<a> SIZE=100",
    "RCPT TO:<b>",
    "",
    "XCLIENT ADDR=127.0.0.1",
    "RCPT TO:<c>",
    "DATA",
    "Subject: x",
    "",
    "..stuffed",
    ".",
    "MAIL FROM:<a>",
    "BDAT 12",
    b"QUIT\r\n.\r\n\0\r",
    "BDAT 0",
    "BDAT 2 LAST",
    b"\n.",
    "NOOP",
    "AUTH LOGIN",
    "YQ==",
    "VRFY x" + "y" * 3000,
    "RSET",
)
SMUGGLING = wire("EHLO c", "DATA", "a", b".\nXCLIENT\n", b"\n.\r\n", ".", "NOOP")

DIALOGUES = [
    [wire("EHLO c.example"), PLAIN, wire("QUIT")],
    [PLAIN + wire("STARTTLS"), PLAIN + wire("QUIT")],
    [PLAIN + wire("RSET", "STARTTLS"), wire("MAIL FROM:<a>"), PLAIN, SMUGGLING],
    [wire("NOOP", "GET / HTTP/1.1", "Host: x")],
    [SMUGGLING],
    [wire("HELO c", "BDAT 5", "NOOP")],
    [wire("EHLO c", "BDAT x", "NOOP")],
]
OPTIONS = st.fixed_dictionaries(
    {
        "identity": st.sampled_from(IdentityMode),
        "tls_security_level": st.sampled_from(TlsSecurityLevel),
        "tls_wrappermode": st.booleans(),
        "tls_auth_only": st.booleans(),
        # With "pass" a message's end would depend on when the server's reply to a part of it comes.
        "smtp_bare_newline": st.sampled_from([BareNewline.REJECT, BareNewline.NORMALIZE]),
    }
)

# The PROXY headers aren't SMTP, which is all that the server reads.
SPEAKABLE = OPTIONS.filter(lambda options: not options["identity"].value.startswith("proxy"))


def opened(options: dict[str, object]) -> Wired:
    wired = Wired(front(**options), TLS)  # type: ignore[arg-type]
    wired.tell(OPENED)
    return wired


def result(wired: Wired) -> object:
    servers = [(server.commands, server.messages) for server in wired.servers]
    return wired.client, servers, wired.reason, wired.reports


def at_rest(wired: Wired) -> Wired:
    """Everything that can happen without the client has happened."""
    while wired.deliver():
        pass
    wired.start_tls()
    while wired.deliver():
        pass
    return wired


def all_at_once(dialogue: list[bytes], options: dict[str, object]) -> object:
    wired = at_rest(opened(options))
    for data in dialogue:
        wired.client_says(data)
        at_rest(wired)
    return result(wired)


PIECES = st.lists(st.sampled_from([1, 2, 3, 5, 8, 40, 1000]), min_size=1, max_size=8)
DELIVERIES = st.lists(st.sampled_from([0, 1, 4, 30, None]), min_size=1, max_size=8)


@given(st.sampled_from(DIALOGUES), SPEAKABLE, PIECES, DELIVERIES)
def test_a_dialogue_is_the_same_in_any_split_and_order(
    dialogue: list[bytes], options: dict[str, object], pieces: list[int], deliveries: list[int | None]
) -> None:
    wired = opened(options)
    sizes, amounts = cycle(pieces), cycle(deliveries)
    if wired.tls_awaited:
        at_rest(wired)
    for data in dialogue:
        rest = data
        while rest:
            wired.deliver(next(amounts))
            size = next(sizes)
            wired.client_says(rest[:size])
            rest = rest[size:]
        at_rest(wired)
    assert result(wired) == all_at_once(dialogue, options)


@pytest.mark.parametrize("dialogue", range(len(DIALOGUES)))
@pytest.mark.parametrize("level", TlsSecurityLevel)
def test_a_dialogue_is_the_same_in_single_bytes(dialogue: int, level: TlsSecurityLevel) -> None:
    options: dict[str, object] = {"tls_security_level": level}
    wired = at_rest(opened(options))
    for data in DIALOGUES[dialogue]:
        for at in range(len(data)):
            wired.client_says(data[at : at + 1])
            while wired.deliver(1):
                pass
        at_rest(wired)
    assert result(wired) == all_at_once(DIALOGUES[dialogue], options)
