"""Addresses of listens and servers."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.addresses import (
    MAX_SYSTEMD_NAME,
    MAX_UNIX_PATH,
    SystemdAddress,
    TcpAddress,
    UnixAddress,
    parse_listen_address,
    parse_server_address,
    parse_tcp_listen_address,
)


@pytest.mark.parametrize(
    ("text", "address", "normal"),
    [
        ("192.0.2.1:25", TcpAddress("192.0.2.1", 25), "192.0.2.1:25"),
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0), "127.0.0.1:0"),
        ("127.0.0.1:00025", TcpAddress("127.0.0.1", 25), "127.0.0.1:25"),
        ("[::]:465", TcpAddress("::", 465), "[::]:465"),
        ("[2001:DB8:0::1]:25", TcpAddress("2001:db8::1", 25), "[2001:db8::1]:25"),
        ("[fe80::1%eth0]:25", TcpAddress("fe80::1%eth0", 25), "[fe80::1%eth0]:25"),
        ("unix:/run//x/./sock", UnixAddress("/run/x/sock"), "unix:/run/x/sock"),
        ("systemd:smtp", SystemdAddress("smtp"), "systemd:smtp"),
    ],
)
def test_a_listen_address_has_one_normal_form(text: str, address: object, normal: str) -> None:
    assert parse_listen_address(text) == address
    assert str(address) == normal
    assert parse_listen_address(normal) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'must be "192.0.2.1:25"'),
        ("25", 'must be "192.0.2.1:25"'),
        (":25", 'must be "192.0.2.1:25"'),
        ("127.0.0.1", "the port is missing"),
        ("[::1]", "the port is missing"),
        ("2001:db8::1", "the port is missing"),
        ("1::25", 'must be "192.0.2.1:25".*: the port is missing'),
        ("*:25", 'must have an IP address: "0.0.0.0:25" or "\\[::\\]:25" instead of "\\*:25"'),
        ("localhost:25", 'must have an IP address, not the name "localhost"'),
        ("127.0.0.1:", "must end in a port number from 0 to 65535"),
        ("127.0.0.1:smtp", "must end in a port number from 0 to 65535"),
        ("127.0.0.1:65536", "must end in a port number from 0 to 65535"),
        ("127.0.0.1:-1", "must end in a port number"),
        ("127.0.0.1:+1", "must end in a port number"),
        ("127.0.0.1:٢٥", "must end in a port number"),
        ("127.0.0.1:" + "1" * 5000, "must end in a port number"),
        ("2001:db8::1:2:25", "must have brackets around an IPv6 address"),
        ("[127.0.0.1]:25", "must have brackets around an IPv6 address and nothing else"),
        ("[::1:25", 'must have an IP address, not the name "\\[::1"'),
        ("[::ffff:192.0.2.1]:25", "must have the IPv4 address as such, 192.0.2.1"),
        ("unix:", "must name a socket file"),
        ("unix:/run/", "must name a socket file"),
        ("unix:/run/\0", "must name a socket file"),
        ("unix:@smtp", 'the abstract name "@smtp" has no permissions'),
        (
            "unix:/" + "x" * MAX_UNIX_PATH,
            f"has {MAX_UNIX_PATH + 1} bytes in its path, {MAX_UNIX_PATH} are possible",
        ),
        ("systemd:", 'must be "systemd:NAME"'),
        ("systemd:a:b", 'must be "systemd:NAME"'),
        ("systemd:a\n", 'must be "systemd:NAME"'),
        ("systemd:é", 'must be "systemd:NAME"'),
        ("systemd:" + "x" * (MAX_SYSTEMD_NAME + 1), 'must be "systemd:NAME"'),
    ],
)
def test_what_cannot_be_listened_on_is_refused_with_what_would_be_valid(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_listen_address(text)


def test_the_longest_names_that_the_system_takes_are_valid() -> None:
    path = "/" + "x" * (MAX_UNIX_PATH - 1)
    assert parse_listen_address(f"unix:{path}") == UnixAddress(path)
    name = "x" * MAX_SYSTEMD_NAME
    assert parse_listen_address(f"systemd:{name}") == SystemdAddress(name)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:2525", TcpAddress("127.0.0.1", 2525)),
        ("[::1]:2525", TcpAddress("::1", 2525)),
        ("Mail.Example.ORG:25", TcpAddress("mail.example.org", 25)),
        ("mail.example.org.:25", TcpAddress("mail.example.org.", 25)),
        ("old_mta:25", TcpAddress("old_mta", 25)),
        ("unix:/run/mail.sock", UnixAddress("/run/mail.sock")),
    ],
)
def test_a_server_is_an_address_a_name_or_a_socket_file(text: str, address: object) -> None:
    assert parse_server_address(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("systemd:smtp", "systemd hands over listening sockets"),
        ("mail.example.org", 'must be .*"mail.example.org:25"'),
        ("mail.example.org:0", "must end in a port number from 1 to 65535"),
        ("10.0.0.256:25", "must have an IP address or a host name"),
        ("10.0.0:25", "must have an IP address or a host name"),
        ("-mail:25", "must have an IP address or a host name"),
        ("mail-:25", "must have an IP address or a host name"),
        ("mail..org:25", "must have an IP address or a host name"),
        ("mäil:25", "must have an IP address or a host name"),
        ("a b:25", "must have an IP address or a host name"),
        ("http://mail:25", "must have an IP address or a host name"),
        (".".join(["x" * 63] * 4) + ":25", "must have an IP address or a host name"),
        ("[mail]:25", "must have brackets around an IPv6 address and nothing else"),
        ("unix:", "must name a socket file"),
    ],
)
def test_what_cannot_be_a_server_is_refused_with_what_would_be_valid(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_server_address(text)


def test_where_only_tcp_will_do_nothing_else_does() -> None:
    assert parse_tcp_listen_address("127.0.0.1:9105") == TcpAddress("127.0.0.1", 9105)
    assert parse_tcp_listen_address("9105") == TcpAddress("127.0.0.1", 9105)
    with pytest.raises(ValueError, match="must end in a port number from 0 to 65535"):
        parse_tcp_listen_address("91055")
    with pytest.raises(ValueError, match=r'must be a TCP address such as "127\.0\.0\.1:9105", not "unix:/x"'):
        parse_tcp_listen_address("unix:/x")


addresses = st.one_of(
    st.builds(TcpAddress, st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.builds(
        TcpAddress,
        st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None).map(str),
        st.integers(0, 65535),
    ),
    st.builds(SystemdAddress, st.text("abcXYZ-._ ", min_size=1)),
)


@given(addresses)
def test_the_normal_form_of_an_address_is_read_back_as_the_same(address: TcpAddress | SystemdAddress) -> None:
    assert parse_listen_address(str(address)) == address


@given(st.one_of(st.text(), st.text("0123456789.:[]*%/@unixsystemd")))
def test_any_text_is_refused_or_has_a_normal_form(text: str) -> None:
    for parse in (parse_listen_address, parse_server_address):
        with suppress(ValueError):
            address = parse(text)
            assert parse(str(address)) == address
