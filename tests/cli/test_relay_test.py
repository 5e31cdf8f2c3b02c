"""What is concluded from the replies of a mail server that is asked to relay."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.processes import free_port
from tests.support.scripted_smtp import CLOSE, STALL, ScriptedSmtp
from tlsproxy.cli import relay_test as module
from tlsproxy.cli.relay_test import Envelope, Finding, Verdict, relay_test
from tlsproxy.config.addresses import parse_server_address
from tlsproxy.config.backend import Backend, BackendTls, Server
from tlsproxy.fronts.options import IdentityMode

ENVELOPE = Envelope("relay-test@example.net", "relay-test@example.com")

DIALOGUE = [
    "EHLO proxy.example",
    "MAIL FROM:<relay-test@example.net>",
    "RCPT TO:<relay-test@example.com>",
    "RSET",
    "QUIT",
]


def found(script: ScriptedSmtp, *, unix: Path | None = None, **options: Any) -> Finding:
    with script.serve(unix_path=str(unix) if unix is not None else None) as server:
        return found_at(server.address, **options)


def found_at(address: str, **options: Any) -> Finding:
    parsed = parse_server_address(address)
    backend = Backend(name="mta", servers=(Server(address=parsed),), **options)
    return relay_test(backend, parsed, ENVELOPE, "proxy.example")


def test_the_dialogue_ends_before_a_message() -> None:
    script = ScriptedSmtp({"RCPT": "250 2.1.5 Ok"})
    assert found(script) == Finding(Verdict.RELAYS, "250 2.1.5 Ok", "127.0.0.1")
    assert script.heard == DIALOGUE


@pytest.mark.parametrize("reply", ["250 ok", "251 2.1.5 will forward", "252 can't VRFY"])
def test_a_server_that_takes_the_recipient_relays(reply: str) -> None:
    assert found(ScriptedSmtp({"RCPT": reply})).verdict is Verdict.RELAYS


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.7.1 Unable to relay",
        "554 5.7.1 <relay-test@example.com>: Relay access denied",
        "550 relay not permitted",
        "550-first line\n550 second line",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        "551 we do not relay",
        "530 5.7.0 Authentication required",
    ],
)
def test_a_server_that_refuses_the_recipient_does_not(reply: str) -> None:
    finding = found(ScriptedSmtp({"RCPT": reply}))
    assert finding.verdict is Verdict.REFUSES
    assert finding.detail.split()[0] == reply[:3]


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.7.1 greylisted",
        "451 try again",
        "550 5.1.2 Bad destination system address",
        "556 5.1.10 Recipient address has null MX",
        "550 5.1.8 Sender address rejected: Domain not found",
        "550 5.7.27 Sender address has null MX",
        "501 5.5.4 syntax",
        "503 5.5.1 out of order",
        "354 what?",
        "421 4.3.2 closing",
    ],
)
def test_what_is_no_refusal_to_relay_shows_nothing(reply: str) -> None:
    assert found(ScriptedSmtp({"RCPT": reply})) == Finding(
        Verdict.UNDETERMINED, f"the recipient was answered {reply}", "127.0.0.1"
    )


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("530 Authentication required", Verdict.REFUSES),
        ("550 5.7.1 Client host rejected", Verdict.REFUSES),
        ("550 5.1.8 Domain of sender does not exist", Verdict.UNDETERMINED),
        ("550 5.7.27 Sender address has null MX", Verdict.UNDETERMINED),
        ("550 no", Verdict.UNDETERMINED),
        ("451 4.1.8 try again", Verdict.UNDETERMINED),
    ],
)
def test_a_refusal_of_the_sender_shows_something_where_it_is_by_policy(reply: str, verdict: Verdict) -> None:
    script = ScriptedSmtp({"MAIL": reply, "RCPT": "250 never asked"})
    finding = found(script)
    assert finding.verdict is verdict
    assert reply in finding.detail
    assert DIALOGUE[2] not in script.heard


def test_a_server_without_ehlo_is_told_helo() -> None:
    script = ScriptedSmtp({"EHLO": "502 unknown"})
    assert found(script).verdict is Verdict.REFUSES
    assert script.heard[1] == "HELO proxy.example"


@pytest.mark.parametrize(
    ("replies", "detail"),
    [
        ({"greeting": "554 5.3.2 not here"}, "greeting 554 5.3.2 not here"),
        ({"greeting": "SSH-2.0"}, "what the server says is no SMTP reply (GREETING)"),
        ({"EHLO": "550 go away", "HELO": "550 really"}, "our greeting was answered 550 really"),
        ({"EHLO": "\x00\x01"}, "what the server says is no SMTP reply"),
        *(
            ({word: CLOSE}, "the server closed the connection")
            for word in ("greeting", "EHLO", "MAIL", "RCPT")
        ),
        *(({word: STALL}, "no answer in time") for word in ("greeting", "EHLO", "MAIL", "RCPT")),
    ],
)
def test_a_server_that_does_not_get_to_the_question_shows_nothing(
    replies: Mapping[str, str], detail: str
) -> None:
    finding = found(ScriptedSmtp(replies), greeting_timeout=0.1)
    assert finding == Finding(Verdict.UNDETERMINED, detail, "127.0.0.1")


@pytest.mark.parametrize("reply", [CLOSE, STALL, "500 what?"])
def test_how_the_server_takes_leave_changes_nothing(reply: str) -> None:
    script = ScriptedSmtp({"RCPT": "250 ok", "RSET": reply, "QUIT": reply})
    assert found(script, greeting_timeout=0.1).verdict is Verdict.RELAYS


def test_all_replies_together_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.1)
    assert found(ScriptedSmtp({"MAIL": STALL})).detail == "no answer in time"
    monkeypatch.setattr(module, "DEADLINE", 0)
    assert found(ScriptedSmtp()).detail == "no answer in time"


def test_a_server_that_is_down_shows_nothing(tmp_path: Path) -> None:
    refused = found_at(f"127.0.0.1:{free_port()}")
    assert refused == Finding(Verdict.UNDETERMINED, "Connection refused")
    assert found_at(f"unix:{tmp_path}/nothing") == Finding(Verdict.UNDETERMINED, "No such file or directory")


def test_a_server_on_a_unix_socket_is_asked_too(tmp_path: Path) -> None:
    finding = found(ScriptedSmtp(), unix=tmp_path / "smtp")
    assert finding == Finding(Verdict.REFUSES, "550 5.7.1 Relaying denied", "a Unix socket")


# As the proxy comes


def test_it_comes_from_the_configured_address() -> None:
    script = ScriptedSmtp()
    assert found(script, source_address="127.0.0.9").client == "127.0.0.9"
    assert script.peers == ["127.0.0.9"]


def test_a_trace_header_is_no_identity_before_a_message() -> None:
    assert found(ScriptedSmtp(), identity=IdentityMode.TRACE_HEADER).client == "127.0.0.1"


def test_a_proxy_header_tells_of_a_client_from_outside() -> None:
    script = ScriptedSmtp(header=True)
    assert found(script, identity=IdentityMode.PROXY_V1).client == "192.0.2.1"
    assert script.heard == ["PROXY TCP4 192.0.2.1 192.0.2.2 40001 25", *DIALOGUE]


def test_xclient_tells_of_a_client_from_outside() -> None:
    script = ScriptedSmtp({"EHLO": "250-old.example\n250 XCLIENT ADDR PORT", "XCLIENT": "220 again"})
    finding = found(script, identity=IdentityMode.XCLIENT)
    assert finding == Finding(Verdict.REFUSES, "550 5.7.1 Relaying denied", "192.0.2.1")
    assert script.heard == [DIALOGUE[0], "XCLIENT PORT=40001 ADDR=192.0.2.1", *DIALOGUE]


@pytest.mark.parametrize(
    ("replies", "detail"),
    [
        ({}, "XCLIENT isn't offered to the proxy"),
        ({"EHLO": "250-x\n250 XCLIENT ADDR", "XCLIENT": "550 no"}, "reply 550 to XCLIENT"),
        (
            {"EHLO": "250-x\n250 XCLIENT ADDR", "XCLIENT": "554 5.7.1 you"},
            "reply 554 to XCLIENT: 554 5.7.1 you",
        ),
    ],
)
def test_a_server_that_is_not_told_shows_nothing(replies: Mapping[str, str], detail: str) -> None:
    finding = found(ScriptedSmtp(replies), identity=IdentityMode.XCLIENT)
    assert finding == Finding(Verdict.UNDETERMINED, detail, "192.0.2.1")


def test_transparent_connections_can_only_be_tried_from_outside() -> None:
    script = ScriptedSmtp()
    finding = found(script, identity=IdentityMode.TRANSPARENT)
    assert finding.verdict is Verdict.UNDETERMINED
    assert "from outside" in finding.detail
    assert script.peers == []


# TLS to the server


def tls_server(authority: Authority, name: str = "127.0.0.1") -> ssl.SSLContext:
    issued = authority.issue(name, stem=f"relay-{name}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.chain_path, issued.key_path)
    return context


@pytest.mark.parametrize("tls", [BackendTls.IMPLICIT, BackendTls.STARTTLS])
def test_a_server_is_asked_in_tls(authority: Authority, tls: BackendTls) -> None:
    starttls = {"EHLO": "250-old.example\n250 STARTTLS", "STARTTLS": "220 go"}
    script = ScriptedSmtp(starttls, tls_server(authority), tls is BackendTls.IMPLICIT)
    finding = found(script, tls=tls, tls_ca=str(authority.path))
    assert finding == Finding(Verdict.REFUSES, "550 5.7.1 Relaying denied", "127.0.0.1")
    assert script.heard[-5:] == DIALOGUE


def test_a_server_that_is_not_who_it_should_be_is_not_asked(authority: Authority) -> None:
    script = ScriptedSmtp({}, tls_server(authority, "other.example"), implicit=True)
    finding = found(script, tls=BackendTls.IMPLICIT, tls_ca=str(authority.path))
    assert finding.verdict is Verdict.UNDETERMINED
    assert "127.0.0.1" in finding.detail
    assert script.heard == []


def test_a_file_that_cannot_be_used_shows_nothing(tmp_path: Path) -> None:
    finding = found(ScriptedSmtp(), tls=BackendTls.IMPLICIT, tls_ca=str(tmp_path / "missing.pem"))
    assert finding.verdict is Verdict.UNDETERMINED
    assert "missing.pem" in finding.detail


def test_a_long_reply_is_shown_in_one_short_line() -> None:
    finding = found(ScriptedSmtp({"RCPT": "550-" + "x" * 400 + "\n550 \xe9"}))
    assert finding.detail == "550 " + "x" * module.TEXT_SHOWN
