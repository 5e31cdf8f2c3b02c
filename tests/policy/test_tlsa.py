"""TLSA records: how they are written, and what they match."""

from hashlib import sha256, sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.policy.tlsa import (
    MAX_RECORDS,
    ChainPart,
    Matching,
    Selector,
    TlsaError,
    TlsaRecord,
    Usage,
    parse_tlsa,
)

DIGEST = "ab" * 32
LEAF = ChainPart(b"leaf", b"leaf key")
ISSUER = ChainPart(b"issuer", b"issuer key")
OWNER = "_25._tcp.mx.example.org"
RECORD = TlsaRecord(OWNER, Usage.DANE_EE, Selector.SPKI, Matching.SHA2_256, bytes.fromhex(DIGEST))


@pytest.mark.parametrize(
    "text",
    [
        f"_25._tcp.mx.example.org. 3600 IN TLSA 3 1 1 {DIGEST}",
        f"_25._TCP.MX.example.org TLSA 3 1 1 {DIGEST.upper()}",
        f"_25._tcp.mx.example.org. IN 1h30m TLSA DANE-EE SPKI SHA2-256 {DIGEST[:20]} {DIGEST[20:]} ; published",
        f"; dig +multiline\n_25._tcp.mx.example.org. TLSA 3 1 1 (\n\t{DIGEST[:30]}\n\t{DIGEST[30:]} )\n",
        f"_25._tcp.mx.example.org. IN TYPE52 \\# 35 030101{DIGEST}",
    ],
)
def test_a_record_is_read_as_tools_write_it(text: str) -> None:
    assert parse_tlsa(text) == (RECORD,)


def test_the_owner_may_be_left_out() -> None:
    [alone] = parse_tlsa(f"3 1 1 {DIGEST}")
    assert (alone.owner, alone.host) == ("", "")
    first, second = parse_tlsa(f"{OWNER}. TLSA 3 1 1 {DIGEST}\n  IN TLSA 2 0 1 {DIGEST}\n")
    assert first.owner == second.owner == OWNER
    assert first.host == "mx.example.org"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 1 1", "line 1: isn't a TLSA record"),
        (f"\n4 1 1 {DIGEST}", 'line 2: usage "4" isn\'t known; valid are 0 .PKIX-TA., 1 .PKIX-EE.'),
        (f"3 2 1 {DIGEST}", 'selector "2" isn\'t known'),
        (f"3 1 3 {DIGEST}", 'matching "3" isn\'t known'),
        ("3 1 1 ab", "the digest has 1 bytes; one of matching type 1 has 32"),
        (f"3 1 2 {DIGEST}", "matching type 2 has 64"),
        ("3 1 0 xyz", '"xyz" isn\'t hexadecimal'),
        (f"3 1 1 ( {DIGEST}", "line 1: a parenthesis isn't closed"),
        (f"x TYPE52 \\# 36 030101{DIGEST}", "the length is 36, and there are 35 bytes"),
        (f"x TYPE52 3 1 1 {DIGEST}", "RFC 3597"),
        ("mx.example.org. IN A 192.0.2.1", "usage"),
    ],
)
def test_what_is_no_record_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(TlsaError, match=message):
        parse_tlsa(text)


def test_the_number_of_records_is_bounded() -> None:
    with pytest.raises(TlsaError, match="more than"):
        parse_tlsa(f"3 1 1 {DIGEST}\n" * (MAX_RECORDS + 1))


@given(st.text(max_size=200))
def test_any_text_is_records_or_an_error(text: str) -> None:
    try:
        records = parse_tlsa(text)
    except TlsaError:
        return
    assert all(record.data or record.matching is Matching.FULL for record in records)


@pytest.mark.parametrize("usage", Usage)
@pytest.mark.parametrize("selector", Selector)
@pytest.mark.parametrize("matching", Matching)
def test_a_record_matches_what_it_is_about(usage: Usage, selector: Selector, matching: Matching) -> None:
    part, other = (LEAF, ISSUER) if usage in (Usage.PKIX_EE, Usage.DANE_EE) else (ISSUER, LEAF)
    selected = part.certificate if selector is Selector.CERT else part.public_key
    digest = {Matching.SHA2_256: sha256, Matching.SHA2_512: sha512}.get(matching)
    data = selected if digest is None else digest(selected).digest()
    record = TlsaRecord("", usage, selector, matching, data)
    assert record.matches([LEAF, ISSUER])
    assert not record.matches([other] if other is LEAF else [ISSUER, LEAF])
