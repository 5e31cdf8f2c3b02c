"""Sockets handed over at descriptors of this process's own."""

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tlsproxy.service.activation import LIMIT, ActivationError, activated_sockets

FIRST = 200
"""Where the tests put descriptors: 3 is in use."""

Environ = dict[str, str]


def environ(count: int | str, names: str | None = None, pid: int | str | None = None) -> Environ:
    variables = {
        "LISTEN_PID": str(os.getpid() if pid is None else pid),
        "LISTEN_FDS": str(count),
        "PATH": "/bin",
    }
    return variables if names is None else variables | {"LISTEN_FDNAMES": names}


def listener(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    opened = socket.socket(family)
    opened.bind(("127.0.0.1", 0) if family == socket.AF_INET else "")
    opened.listen()
    return opened


@pytest.fixture
def hand_over() -> Iterator[Callable[..., None]]:
    """Puts sockets, or whatever has a ``fileno``, at the descriptors from ``FIRST`` on, as systemd does."""
    numbers: list[int] = []

    def put(*sources: socket.socket) -> None:
        for number, source in enumerate(sources, start=FIRST):
            os.dup2(source.fileno(), number, inheritable=True)
            numbers.append(number)
            source.close()

    yield put
    for number in numbers:
        try:
            os.close(number)
        except OSError:
            continue


def taken(variables: Environ) -> dict[str, list[socket.socket]]:
    return dict(activated_sockets(variables, first=FIRST))


def close(sockets: dict[str, list[socket.socket]]) -> None:
    for same_name in sockets.values():
        for each in same_name:
            each.close()


def test_sockets_come_by_name_in_order(hand_over: Callable[..., None]) -> None:
    sources = [listener(), listener(), listener(socket.AF_UNIX)]
    addresses = [source.getsockname() for source in sources]
    hand_over(*sources)
    sockets = taken(environ(3, "smtps:https:smtps"))
    assert {name: [each.getsockname() for each in same] for name, same in sockets.items()} == {
        "smtps": [addresses[0], addresses[2]],
        "https": [addresses[1]],
    }
    assert [each.family for each in sockets["smtps"]] == [socket.AF_INET, socket.AF_UNIX]
    close(sockets)


def test_a_socket_taken_over_accepts_and_neither_blocks_nor_is_inherited(
    hand_over: Callable[..., None],
) -> None:
    hand_over(listener())
    sockets = taken(environ(1, "smtps"))
    [server] = sockets["smtps"]
    assert not server.getblocking()
    assert not server.get_inheritable()
    with socket.create_connection(server.getsockname()):
        server.setblocking(True)
        server.accept()[0].close()
    close(sockets)


def test_sockets_without_names_are_called_unknown(hand_over: Callable[..., None]) -> None:
    hand_over(listener(), listener())
    sockets = taken(environ(2))
    assert {name: len(same) for name, same in sockets.items()} == {"unknown": 2}
    close(sockets)


def test_outside_systemd_there_are_none() -> None:
    assert taken({"PATH": "/bin"}) == {}


def test_sockets_of_another_process_are_left_alone(hand_over: Callable[..., None]) -> None:
    """A child that inherited the variables."""
    hand_over(listener())
    assert taken(environ(1, "smtps", pid=1)) == {}
    os.fstat(FIRST)


def test_the_variables_are_used_once(hand_over: Callable[..., None]) -> None:
    hand_over(listener())
    variables = environ(1, "smtps")
    close(taken(variables))
    assert variables == {"PATH": "/bin"}


@pytest.mark.parametrize("count", ["", "-1", "one", str(LIMIT + 1), "\u0661", "1.0"])
def test_a_count_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(ActivationError, match=f'LISTEN_FDS is "{count}"; valid is a number from 0 to 1024'):
        taken(environ(count, "smtps"))


def test_names_that_do_not_match_the_count_are_refused() -> None:
    with pytest.raises(ActivationError, match=r'LISTEN_FDNAMES is "a:b", 2 names for 1 sockets'):
        taken(environ(1, "a:b"))


def test_a_descriptor_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ActivationError, match=r'descriptor 200 \("smtps"\) is no socket: Bad file descriptor'
    ):
        taken(environ(1, "smtps"))


def test_a_descriptor_that_is_a_file_is_named(hand_over: Callable[..., None]) -> None:
    with open(os.devnull) as file:  # noqa: PTH123
        os.dup2(file.fileno(), FIRST)
    with pytest.raises(ActivationError, match=r'descriptor 200 \("smtps"\) is no socket'):
        taken(environ(1, "smtps"))
    os.close(FIRST)


def listening_for_packets() -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened.bind("")
    opened.listen()
    return opened


@pytest.mark.parametrize(
    "make",
    [lambda: socket.socket(type=socket.SOCK_DGRAM), socket.socket, listening_for_packets],
    ids=["datagram", "not listening", "packets"],
)
def test_a_socket_that_is_no_listening_stream_is_refused(
    hand_over: Callable[..., None], make: Callable[[], socket.socket]
) -> None:
    hand_over(make())
    with pytest.raises(
        ActivationError, match="no listening stream socket: the socket unit needs ListenStream="
    ):
        taken(environ(1, "smtps"))
