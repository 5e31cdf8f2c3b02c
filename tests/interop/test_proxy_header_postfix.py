"""Postfix as a backend that wants a PROXY header (``smtpd_upstream_proxy_protocol = haproxy``)."""

import contextlib
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

import pytest

from tests.support.postfix import DOMAIN, Postfix, Smtpd, content_of
from tlsproxy.identity.client import ClientAddress, TlsFacts
from tlsproxy.identity.proxy_header import LOCAL_V2, MAX_ENCODED_SIZE, encode_v1, encode_v2

TIMEOUT = 10
"""Seconds for each thing that a socket waits for."""

UNIX = ClientAddress(None)
SERVER4 = ClientAddress(ip_address("198.51.100.7"), 25)
SERVER6 = ClientAddress(ip_address("2001:db8:ffff::7"), 25)
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, "X25519", "mx.example.org", "smtp")

# Of exactly the size limit, so that Postfix shows whether it reads as much.
FULL = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, server_name="s" * 255, client_common_name="c" * 180)


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    service = Smtpd({"smtpd_upstream_proxy_protocol": "haproxy", "smtpd_client_port_logging": "yes"})
    with Postfix([service], {"inet_protocols": "all"}) as running:
        yield running


@contextlib.contextmanager
def connection(postfix: Postfix, first: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", postfix.port), TIMEOUT) as client:
        client.sendall(first)
        yield client


def banner(postfix: Postfix, header: bytes) -> bytes:
    """What Postfix says first."""
    with connection(postfix, header) as client:
        return client.recv(4096)


CLIENTS: dict[str, tuple[str, int, Callable[[ClientAddress], bytes]]] = {
    "v1": ("192.0.2.1", 40001, lambda client: encode_v1(client, SERVER4)),
    "v1 IPv6": ("2001:db8::1", 40002, lambda client: encode_v1(client, SERVER6)),
    "v1 two families": ("192.0.2.3", 40003, lambda client: encode_v1(client, SERVER6)),
    "v2": ("192.0.2.4", 40004, lambda client: encode_v2(client, SERVER4)),
    "v2 IPv6": ("2001:db8::5", 40005, lambda client: encode_v2(client, SERVER6)),
    "v2 with TLS": ("192.0.2.6", 40006, lambda client: encode_v2(client, SERVER4, TLS)),
    "v2 IPv6 with TLS and checksum": (
        "2001:db8::7",
        40007,
        lambda client: encode_v2(client, SERVER6, TLS, checksum=True),
    ),
    "v2 of the largest size": ("2001:db8::8", 40008, lambda client: encode_v2(client, SERVER6, FULL)),
    "v2 from beside a unix socket": ("192.0.2.9", 40009, lambda client: encode_v2(client, UNIX, TLS)),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_postfix_logs_the_client_of_our_header(postfix: Postfix, case: str) -> None:
    ip, port, header = CLIENTS[case]
    assert banner(postfix, header(ClientAddress(ip_address(ip), port))).startswith(b"220 ")
    assert postfix.wait_for_log(rf"smtpd.*: connect from unknown\[.*\]:{port}$")[0].endswith(f"[{ip}]:{port}")


def test_postfix_reads_no_longer_header_than_our_largest(postfix: Postfix) -> None:
    header = encode_v2(ClientAddress(ip_address("2001:db8::8"), 1), SERVER6, FULL)
    assert len(header) == MAX_ENCODED_SIZE
    padding = b"\x04\0\0"
    longer = header[:14] + (len(header) - 16 + len(padding)).to_bytes(2, "big") + header[16:] + padding
    assert banner(postfix, longer).startswith(b"421 4.3.0 ")
    postfix.wait_for_log("haproxy read: short version 2 protocol header")


def test_a_message_bears_the_client_of_our_header(postfix: Postfix) -> None:
    client_address = ClientAddress(ip_address("192.0.2.99"), 40099)
    dialogue = (
        b"EHLO helo.example\r\n",
        b"MAIL FROM:<a@sender.example>\r\n",
        f"RCPT TO:<user@{DOMAIN}>\r\n".encode(),
        b"DATA\r\n",
        b"Subject: who sent me\r\n\r\nbody\r\n.\r\n",
        b"QUIT\r\n",
    )
    with (
        connection(postfix, encode_v2(client_address, SERVER4, TLS)) as client,
        client.makefile("rb") as replies,
    ):
        for command in dialogue:
            assert reply(replies) < 400
            client.sendall(command)
        assert reply(replies) == 221
    (message,) = postfix.wait_for_messages(1)
    assert b"Received: from helo.example (unknown [192.0.2.99])" in message
    assert content_of(message) == b"Subject: who sent me\n\nbody\n"


def reply(lines: Iterable[bytes]) -> int:
    """The code of the next reply."""
    for line in lines:
        match = re.match(rb"([2-5]\d\d)(?!-)", line)
        if match:
            return int(match[1])
    raise AssertionError("the connection ended")


def test_a_health_check_has_the_connections_own_address(postfix: Postfix) -> None:
    assert banner(postfix, LOCAL_V2).startswith(b"220 ")
    postfix.wait_for_log(r"connect from \S+\[127\.0\.0\.1\]:")


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (encode_v1(UNIX, UNIX), "bad or missing protocol type"),
        (encode_v2(UNIX, UNIX), "unsupported network protocol"),
    ],
)
def test_postfix_refuses_a_client_that_is_not_named(postfix: Postfix, header: bytes, complaint: str) -> None:
    assert banner(postfix, header).startswith(b"421 4.3.0 ")
    postfix.wait_for_log(rf"haproxy read: {complaint}")
