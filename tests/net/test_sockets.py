"""Tests for tlsproxy.net.sockets."""

import socket
import stat
from pathlib import Path

import pytest

from tlsproxy.config.addresses import TcpAddress, UnixAddress, parse_listen_address
from tlsproxy.net.sockets import ListenError, needs_ipv6_only, open_tcp, open_tcp_copies, open_unix


@pytest.mark.parametrize(
    ("address", "others", "expected"),
    [
        ("[::]:25", ["0.0.0.0:25"], True),
        ("[::]:25", ["192.0.2.1:25"], True),
        ("[::]:25", ["0.0.0.0:465"], False),
        ("[::]:25", ["unix:/run/x"], False),
        ("[::]:0", ["0.0.0.0:0"], False),
        ("0.0.0.0:25", ["[::]:25"], False),
        ("unix:/run/x", ["0.0.0.0:25"], False),
    ],
)
def test_an_ipv6_socket_leaves_ipv4_alone_only_where_another_listen_has_the_port(
    address: str, others: list[str], expected: bool
) -> None:
    assert needs_ipv6_only(parse_listen_address(address), map(parse_listen_address, others)) is expected


def test_a_dual_stack_socket_takes_ipv4_clients() -> None:
    with open_tcp(TcpAddress("::", 0), ipv6_only=False) as listening:
        with socket.create_connection(("127.0.0.1", listening.getsockname()[1]), timeout=5) as client:
            assert client.getpeername()[0] == "127.0.0.1"


def test_an_ipv6_only_socket_and_an_ipv4_socket_share_a_port() -> None:
    with open_tcp(TcpAddress("127.0.0.1", 0), ipv6_only=False) as first:
        with open_tcp(TcpAddress("::", first.getsockname()[1]), ipv6_only=True) as second:
            assert second.getsockname()[1] == first.getsockname()[1]


def test_a_used_address_is_named_with_the_cause() -> None:
    with open_tcp(TcpAddress("127.0.0.1", 0), ipv6_only=False) as first:
        address = TcpAddress("127.0.0.1", first.getsockname()[1])
        with pytest.raises(ListenError, match=f"can't listen on {address}: the address is in use"):
            open_tcp(address, ipv6_only=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connections_are_shared_out_among_copies(host: str) -> None:
    opened = open_tcp_copies(TcpAddress(host, 0), 3, ipv6_only=True)
    (address,) = {each.getsockname()[:2] for each in opened}
    clients = [socket.create_connection(address, timeout=5) for _ in range(100)]
    for each in opened:
        each.accept()[0].close()  # raises where the queue is empty
    for each in (*clients, *opened):
        each.close()


@pytest.mark.parametrize("copies", [1, 2])
def test_copies_are_not_shared_with_another_process(copies: int) -> None:
    opened = open_tcp_copies(TcpAddress("127.0.0.1", 0), 2, ipv6_only=False)
    address = TcpAddress("127.0.0.1", opened[0].getsockname()[1])
    with pytest.raises(ListenError, match=f"can't listen on {address}: the address is in use"):
        open_tcp_copies(address, copies, ipv6_only=False)
    for each in opened:
        each.close()


def test_one_copy_is_alone() -> None:
    (opened,) = open_tcp_copies(TcpAddress("127.0.0.1", 0), 1, ipv6_only=False)
    with opened:
        assert not opened.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_all_copies_are_closed_where_one_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    def failing(address: TcpAddress, *, ipv6_only: bool, reuse_port: bool = False) -> socket.socket:
        if made:
            raise ListenError("no more")
        made.append(open_tcp(address, ipv6_only=ipv6_only, reuse_port=reuse_port))
        return made[0]

    monkeypatch.setattr("tlsproxy.net.sockets.open_tcp", failing)
    with pytest.raises(ListenError, match="no more"):
        open_tcp_copies(TcpAddress("127.0.0.1", 0), 2, ipv6_only=False)
    assert made[0].fileno() == -1


def test_a_foreign_address_is_named_with_the_cause() -> None:
    with pytest.raises(ListenError, match="this machine doesn't have the address"):
        open_tcp(TcpAddress("192.0.2.1", 0), ipv6_only=False)


def test_a_unix_socket_has_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_unix(UnixAddress(str(path)), mode=0o600):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    open_unix(address, mode=0o600).close()
    open_unix(address, mode=0o600).close()


def test_a_socket_in_use_is_not_replaced(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    with open_unix(address, mode=0o600), pytest.raises(ListenError, match="in use"):
        open_unix(address, mode=0o600)


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    with pytest.raises(ListenError, match="in use"):
        open_unix(UnixAddress(str(path)), mode=0o600)
    assert path.read_text() == "precious"
