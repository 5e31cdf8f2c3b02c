"""Tests for :mod:`tlsproxy.identity.xclient`."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.identity.facts import CLIENT4, CLIENT6, SERVER4, SERVER6, UNIX, end, ends
from tlsproxy.errors import XclientError
from tlsproxy.identity.client import ClientAddress
from tlsproxy.identity.xclient import (
    MAX_LINE_SIZE,
    MAX_VALUE_SIZE,
    TEMPUNAVAIL,
    UNAVAILABLE,
    offered_attributes,
    xclient_command,
    xtext,
    xtext_decoded,
)

POSTFIX = offered_attributes("NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT")
DOVECOT = offered_attributes("ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT")


def test_attributes_are_offered_in_any_case() -> None:
    assert offered_attributes(" name ADDR  Proto\r\n") == {"NAME", "ADDR", "PROTO"}
    assert offered_attributes("") == frozenset()


def test_postfix_is_told_everything_on_one_line() -> None:
    assert xclient_command(
        POSTFIX, client=CLIENT4, destination=SERVER4, helo="helo.example", protocol="ESMTP"
    ) == [
        (
            b"XCLIENT PROTO=ESMTP HELO=helo.example DESTADDR=198.51.100.7 DESTPORT=25"
            b" NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] PORT=51234 ADDR=192.0.2.1\r\n"
        )
    ]


def test_an_ipv6_address_has_its_prefix() -> None:
    assert xclient_command(
        POSTFIX,
        client=CLIENT6,
        destination=SERVER6,
        helo=None,
        protocol="SMTP",
        name="c.example",
        login="jo@example",
    ) == [
        (
            b"XCLIENT PROTO=SMTP HELO=[UNAVAILABLE] DESTADDR=IPV6:2001:db8:ffff::7 DESTPORT=25"
            b" NAME=c.example REVERSE_NAME=c.example PORT=51234 ADDR=IPV6:2001:db8::1 LOGIN=jo@example\r\n"
        )
    ]


def test_only_what_is_offered_is_told() -> None:
    assert xclient_command(
        DOVECOT, client=CLIENT4, destination=SERVER4, helo="helo.example", protocol="ESMTP", login="jo"
    ) == [b"XCLIENT PROTO=ESMTP HELO=helo.example PORT=51234 ADDR=192.0.2.1 LOGIN=jo\r\n"]
    assert xclient_command(
        offered_attributes("ADDR"),
        client=CLIENT4,
        destination=SERVER4,
        helo="helo.example",
        protocol="ESMTP",
        login="jo",
    ) == [b"XCLIENT ADDR=192.0.2.1\r\n"]


@pytest.mark.parametrize("parameters", ["", "NAME PROTO HELO", "DESTADDR"])
def test_a_backend_that_would_take_the_proxy_for_the_client_is_refused(parameters: str) -> None:
    with pytest.raises(XclientError, match="without ADDR it can't be told"):
        xclient_command(
            offered_attributes(parameters), client=CLIENT4, destination=SERVER4, helo="h", protocol="ESMTP"
        )


def test_a_client_on_a_unix_socket_has_no_address_and_not_the_proxys() -> None:
    assert xclient_command(POSTFIX, client=UNIX, destination=UNIX, helo="h", protocol="SMTP") == [
        (
            b"XCLIENT PROTO=SMTP HELO=h DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]"
            b" NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] PORT=[UNAVAILABLE] ADDR=[UNAVAILABLE]\r\n"
        )
    ]


@pytest.mark.parametrize("helo", [None, "", b"", "x" * 256, b"\0" * 86, "ü" * 43])
def test_what_cannot_be_told_is_unavailable(helo: str | bytes | None) -> None:
    (line,) = xclient_command(
        POSTFIX, client=CLIENT4, destination=SERVER4, helo=helo, protocol="ESMTP", login=helo
    )
    values = parsed(line)
    assert values["HELO"] == UNAVAILABLE.encode()
    assert values.get("LOGIN", UNAVAILABLE.encode()) == UNAVAILABLE.encode()


def test_a_lookup_may_have_failed_for_the_moment() -> None:
    (line,) = xclient_command(
        POSTFIX, client=CLIENT4, destination=SERVER4, helo="h", protocol="ESMTP", name=TEMPUNAVAIL
    )
    assert b" NAME=[TEMPUNAVAIL] REVERSE_NAME=[TEMPUNAVAIL] " in line


@pytest.mark.parametrize(
    "helo",
    [
        "a b",
        "a\r\nRSET",
        "a LOGIN=root",
        "a=b",
        "a+20",
        "\0",
        "\x7f",
        b"\xff",
        "ü.example",
        "\N{SNOWMAN}" * 20,
    ],
)
def test_a_hostile_helo_stays_one_value(helo: str | bytes) -> None:
    (line,) = xclient_command(POSTFIX, client=CLIENT4, destination=SERVER4, helo=helo, protocol="ESMTP")
    assert parsed(line).keys() == POSTFIX - {"LOGIN"}
    assert parsed(line)["HELO"] == (helo if isinstance(helo, bytes) else helo.encode())


def parsed(line: bytes) -> dict[str, bytes]:
    """Names and decoded values of one command, by the grammar of XCLIENT_README."""
    assert line.endswith(b"\r\n")
    assert not set(line[:-2]) & set(b"\r\n\0\t")
    verb, *attributes = line[:-2].decode("ascii").split(" ")
    assert verb == "XCLIENT"
    assert attributes
    pairs = [attribute.split("=") for attribute in attributes]
    assert len(dict(pairs)) == len(pairs)
    assert all(0 < len(value) <= MAX_VALUE_SIZE for _, value in pairs)
    return {name: xtext_decoded(value.encode("ascii")) for name, value in pairs}


def test_the_longest_values_take_more_lines_and_the_address_comes_last() -> None:
    lines = xclient_command(
        POSTFIX,
        client=end("2001:db8:1111:2222:3333:4444:5555:6666", 65535),
        destination=end("2001:db8:1111:2222:3333:4444:5555:7777", 65535),
        helo="h" * 255,
        protocol="ESMTP",
        login="l" * 255,
        name="n" * 255,
    )
    assert [list(parsed(line)) for line in lines] == [
        ["PROTO", "HELO", "DESTADDR", "DESTPORT"],
        ["NAME"],
        ["REVERSE_NAME"],
        ["PORT", "ADDR", "LOGIN"],
    ]


def test_a_line_may_be_as_long_as_its_limit() -> None:
    def lines(login_size: int) -> list[bytes]:
        return xclient_command(
            offered_attributes("HELO ADDR LOGIN"),
            client=CLIENT4,
            destination=SERVER4,
            helo="h" * 230,
            protocol="ESMTP",
            login="l" * login_size,
        )

    (longest,) = lines(MAX_LINE_SIZE - len(lines(1)[0]) + 1)
    assert len(longest) == MAX_LINE_SIZE
    assert [list(parsed(line)) for line in lines(MAX_LINE_SIZE - len(lines(1)[0]) + 2)] == [
        ["HELO"],
        ["ADDR", "LOGIN"],
    ]


attribute_sets = st.frozensets(st.sampled_from(sorted(POSTFIX | {"SESSION", "TTL"}))).map(
    lambda some: some | {"ADDR"}
)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=260) | st.binary(max_size=260)


@given(
    attribute_sets,
    ends | st.just(UNIX),
    ends | st.just(UNIX),
    values,
    st.sampled_from(["SMTP", "ESMTP"]),
    values,
    values,
)
def test_every_offered_attribute_is_told_once_within_the_limits(
    offered: frozenset[str],
    client: ClientAddress,
    destination: ClientAddress,
    helo: str | bytes,
    protocol: Literal["SMTP", "ESMTP"],
    login: str | bytes,
    name: str | bytes,
) -> None:
    lines = xclient_command(
        offered, client=client, destination=destination, helo=helo, protocol=protocol, login=login, name=name
    )
    assert all(len(line) <= MAX_LINE_SIZE for line in lines)
    told = [parsed(line) for line in lines]
    names = [name for attributes in told for name in attributes]
    assert sorted(names) == sorted(offered - {"SESSION", "TTL"})
    assert {"ADDR", "PORT", "LOGIN"} & offered <= told[-1].keys()
    for attributes in told:
        for key, given_value in {"HELO": helo, "LOGIN": login, "NAME": name, "REVERSE_NAME": name}.items():
            raw = given_value.encode() if isinstance(given_value, str) else given_value
            assert attributes.get(key, raw) in (raw, UNAVAILABLE.encode())


# xtext


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (b"", b""),
        ("helo.example", b"helo.example"),
        ("[UNAVAILABLE]", b"[UNAVAILABLE]"),
        ("!~*,<>", b"!~*,<>"),
        ("+=", b"+2B+3D"),
        (" \t\r\n\0", b"+20+09+0D+0A+00"),
        (b"\x7f\x80\xff", b"+7F+80+FF"),
        ("ü", b"+C3+BC"),
        ("\udcff", b"+FF"),
    ],
)
def test_xtext_is_that_of_rfc_3461(value: str | bytes, encoded: bytes) -> None:
    assert xtext(value) == encoded


@given(st.binary())
def test_xtext_decodes_to_what_was_encoded(value: bytes) -> None:
    assert xtext_decoded(xtext(value)) == value


@pytest.mark.parametrize(
    "value", [b"+", b"+4", b"+4G", b"+4g", b"+2b", b"a b", b"=", b"a\r\n", b"\xff", b"+2B\n", b"++2B"]
)
def test_what_is_no_xtext_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="isn't xtext"):
        xtext_decoded(value)
