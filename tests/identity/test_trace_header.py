"""Tests for :mod:`tlsproxy.identity.trace_header`."""

import re
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.identity.facts import CLIENT4, CLIENT6, TLS12, TLS13, UNIX, ends
from tlsproxy.identity.client import ClientAddress, TlsFacts
from tlsproxy.identity.trace_header import received_field

DATE = datetime(2026, 11, 23, 5, 0, 0, tzinfo=UTC)


def field(**changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "client": CLIENT4,
        "helo": "helo.example",
        "hostname": "mx.example.org",
        "esmtp": True,
        "tls": TLS13,
        "authenticated": False,
        "smtputf8": False,
        "session_id": "1a2b",
        "date": DATE,
    }
    return received_field(**facts | changes)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {},
            (
                b"Received: from helo.example ([192.0.2.1])\r\n"
                b" by mx.example.org (tlsproxy) with ESMTPS id 1a2b\r\n"
                b" (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256);\r\n"
                b" Mon, 23 Nov 2026 05:00:00 +0000\r\n"
            ),
        ),
        (
            {
                "tls": None,
                "client": CLIENT6,
                "date": DATE.astimezone(timezone(-timedelta(hours=3, minutes=30))),
            },
            (
                b"Received: from helo.example ([IPv6:2001:db8::1])\r\n"
                b" by mx.example.org (tlsproxy) with ESMTP id 1a2b;\r\n"
                b" Mon, 23 Nov 2026 01:30:00 -0330\r\n"
            ),
        ),
        (
            {"helo": None, "client": UNIX, "esmtp": False, "tls": TLS12},
            (
                b"Received: from unknown (local)\r\n"
                b" by mx.example.org (tlsproxy) with SMTP id 1a2b\r\n"
                b" (version=TLSv1.2 cipher=ECDHE-RSA-AES128-GCM-SHA256 bits=128);\r\n"
                b" Mon, 23 Nov 2026 05:00:00 +0000\r\n"
            ),
        ),
        (
            {
                "helo": "h" * 60,
                "hostname": "m" * 60,
                "session_id": "s" * 40,
                "tls": evolve(TLS12, cipher="c" * 50),
            },
            b"Received: from " + b"h" * 60 + b"\r\n"
            b" ([192.0.2.1])\r\n"
            b" by " + b"m" * 60 + b" (tlsproxy)\r\n"
            b" with ESMTPS id " + b"s" * 40 + b"\r\n"
            b" (version=TLSv1.2 cipher=" + b"c" * 50 + b"\r\n"
            b" bits=128);\r\n"
            b" Mon, 23 Nov 2026 05:00:00 +0000\r\n",
        ),
    ],
)
def test_the_field_tells_who_by_whom_how_and_when(changes: dict[str, Any], lines: bytes) -> None:
    assert field(**changes) == lines


def test_a_line_may_have_78_characters() -> None:
    longest = b" by " + b"m" * 43 + b" (tlsproxy) with ESMTPS id 1a2b"
    assert len(longest) == 78
    assert longest in field(hostname="m" * 43).split(b"\r\n")
    assert b" 1a2b" in field(hostname="m" * 44).split(b"\r\n")


@pytest.mark.parametrize(
    ("esmtp", "tls", "authenticated", "smtputf8", "protocol"),
    [
        (False, None, False, False, "SMTP"),
        (False, TLS13, False, False, "SMTP"),
        (True, None, False, False, "ESMTP"),
        (True, None, True, False, "ESMTPA"),
        (True, TLS13, False, False, "ESMTPS"),
        (True, TLS13, True, False, "ESMTPSA"),
        (True, None, False, True, "UTF8SMTP"),
        (True, None, True, True, "UTF8SMTPA"),
        (True, TLS13, False, True, "UTF8SMTPS"),
        (True, TLS13, True, True, "UTF8SMTPSA"),
    ],
)
def test_the_protocol_is_the_registered_word(
    esmtp: bool, tls: TlsFacts | None, authenticated: bool, smtputf8: bool, protocol: str
) -> None:
    line = field(esmtp=esmtp, tls=tls, authenticated=authenticated, smtputf8=smtputf8)
    assert f" with {protocol} id 1a2b".encode() in line


@pytest.mark.parametrize(
    ("helo", "shown"),
    [
        ("helo.example", "helo.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("my_printer-2.local.", "my_printer-2.local."),
        (b"helo.example", "helo.example"),
        ("", "unknown"),
        (b"", "unknown"),
        ("a b", "a?b"),
        ("a\r\nBcc: b", "a??Bcc:?b"),
        ("a) by evil.example (", "a??by?evil.example??"),
        ('"quoted"\\', "?quoted??"),
        ("a; Mon, 1 Jan 2001", "a??Mon??1?Jan?2001"),
        ("<a@b>", "?a?b?"),
        ("ü.example", "?.example"),
        (b"\xc3\xbc.example", "??.example"),
        (b"\0\x7f\xff", "???"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_helo_is_one_harmless_word(helo: str | bytes, shown: str) -> None:
    assert b" ".join(field(helo=helo).split(b"\r\n "))[:-2].startswith(
        f"Received: from {shown} ([192.0.2.1]) by ".encode()
    )


FORM = re.compile(
    rb"Received: from [0-9A-Za-z._:\[\]?-]{1,255} \((?:\[[0-9A-Za-z.:]+\]|local)\)"
    rb" by mx\.example\.org \(tlsproxy\) with ESMTPS id 1a2b"
    rb" \(version=TLSv1\.3 cipher=TLS_AES_256_GCM_SHA384 bits=256\); Mon, 23 Nov 2026 05:00:00 \+0000"
)


@given(
    st.binary(max_size=400) | st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    ends | st.just(UNIX),
)
def test_no_helo_changes_the_form_of_the_field(helo: str | bytes, client: ClientAddress) -> None:
    written = field(helo=helo, client=client)
    lines = written.split(b"\r\n")
    assert lines.pop() == b""
    assert FORM.fullmatch(b"".join(lines))
    assert all(len(line) <= 78 or line.count(b" ") <= 2 for line in lines)  # a word alone may be longer
    assert all(len(line) <= 998 for line in lines)
    message = message_from_bytes(written + b"Subject: s\r\n\r\nbody", policy=policy.SMTP)
    assert message.keys() == ["Received", "Subject"]
    assert not message.defects


@pytest.mark.parametrize("key", ["hostname", "session_id"])
def test_every_other_word_is_as_harmless(key: str) -> None:
    assert b"(x)" not in field(**{key: "a\r\n (x)"})
    assert field(**{key: "a\r\n (x)"}).count(b"\r\n") == 4


def test_a_cipher_is_a_word_too() -> None:
    assert b"(version=? cipher=?? bits=256);" in field(tls=evolve(TLS13, version=")", cipher="\r\n"))


def test_a_date_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        field(date=DATE.replace(tzinfo=None))
