"""What a mail server offers in plaintext is judged."""

import pytest

from tlsproxy.cli.server_probe.findings import Finding, Verdict
from tlsproxy.cli.server_probe.mail import keyword_findings


def judged(protocol: str, *keywords: str) -> dict[str, Finding]:
    return {each.what: each for each in keyword_findings(protocol, keywords)}


@pytest.mark.parametrize(
    ("protocol", "keywords", "mechanisms", "verdict"),
    [
        ("smtp", ["STARTTLS"], [], Verdict.OK),
        ("smtp", ["STARTTLS", "AUTH PLAIN LOGIN"], ["PLAIN", "LOGIN"], Verdict.BAD),
        ("smtp", ["STARTTLS", "AUTH CRAM-MD5", "AUTH=CRAM-MD5"], ["CRAM-MD5"], Verdict.WARN),
        ("imap", ["STARTTLS", "LOGINDISABLED"], [], Verdict.OK),
        ("imap", ["STARTTLS"], ["LOGIN"], Verdict.BAD),
        ("imap", ["STARTTLS", "LOGINDISABLED", "AUTH=PLAIN"], ["PLAIN"], Verdict.BAD),
        ("pop3", ["STLS"], [], Verdict.OK),
        ("pop3", ["STLS", "USER"], ["PLAIN"], Verdict.BAD),
        ("pop3", ["STLS", "SASL CRAM-MD5"], ["CRAM-MD5"], Verdict.WARN),
    ],
)
def test_a_password_in_plaintext_is_bad(
    protocol: str, keywords: list[str], mechanisms: list[str], verdict: Verdict
) -> None:
    found = judged(protocol, *keywords)["AUTH before TLS"]
    assert (found.verdict, found.facts["mechanisms"]) == (verdict, mechanisms)


@pytest.mark.parametrize(("protocol", "word"), [("smtp", "STARTTLS"), ("imap", "STARTTLS"), ("pop3", "STLS")])
def test_without_starttls_there_is_no_tls(protocol: str, word: str) -> None:
    assert judged(protocol, "SIZE 1000")["STARTTLS"].verdict is Verdict.BAD
    assert judged(protocol, word)["STARTTLS"].verdict is Verdict.OK


def test_who_lets_strangers_say_who_they_are_is_badly_off() -> None:
    found = judged("smtp", "STARTTLS", "XCLIENT NAME ADDR", "XFORWARD NAME")
    assert found["client identity"].verdict is Verdict.BAD
    assert found["client identity"].facts["offered"] == ["XCLIENT", "XFORWARD"]
    assert "client identity" not in judged("smtp", "STARTTLS")
