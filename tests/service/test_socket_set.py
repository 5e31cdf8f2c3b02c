"""Sockets stay, come and go with the configuration."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import free_port
from tlsproxy.config.addresses import parse_listen_address
from tlsproxy.config.declaration import FileMode
from tlsproxy.config.model import Listen
from tlsproxy.net.sockets import ListenError
from tlsproxy.service.socket_set import HandedOver, SocketSet, from_systemd


def listen(address: str, mode: int = 0o660) -> Listen:
    return Listen(address=parse_listen_address(address), unix_mode=FileMode(mode))


@pytest.fixture
def sockets() -> Iterator[SocketSet]:
    made = SocketSet()
    yield made
    made.close()


def use(sockets: SocketSet, *listens: Listen, copies: int = 1) -> list[list[socket.socket]]:
    sockets.prepare(listens, copies=copies).commit()
    return [[each.opened for each in group] for group in sockets.sockets]


def names(sockets: SocketSet) -> list[str]:
    return [each.name for group in sockets.sockets for each in group]


def can_connect(address: str | tuple[str, int]) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        return client.connect_ex(address) == 0


def test_the_socket_of_an_address_that_stays_stays_and_those_waiting_in_it(sockets: SocketSet) -> None:
    ports = [free_port(), free_port()]
    kept, gone = (f"127.0.0.1:{port}" for port in ports)
    ((first,), _) = use(sockets, listen(kept), listen(gone))
    with socket.create_connection(("127.0.0.1", ports[0])) as client:
        ((other,), (same,)) = use(sockets, listen("127.0.0.1:0"), listen(kept))
        assert same is first
        same.setblocking(True)
        accepted, address = same.accept()
        accepted.close()
        assert address == client.getsockname()
    assert other.getsockname()[1] != 0
    assert not can_connect(("127.0.0.1", ports[1]))


def test_what_cannot_be_opened_changes_nothing(sockets: SocketSet) -> None:
    port = free_port()
    ((before,),) = use(sockets, listen(f"127.0.0.1:{port}"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = [listen("127.0.0.1:0"), listen(f"127.0.0.1:{taken.getsockname()[1]}")]
        with pytest.raises(ListenError, match="in use by another process"):
            sockets.prepare(wanted)
    assert sockets.sockets[0][0].opened is before
    assert can_connect(("127.0.0.1", port))


def test_what_was_opened_for_nothing_is_closed(sockets: SocketSet, tmp_path: Path) -> None:
    path = tmp_path / "listen"
    change = sockets.prepare([listen(f"unix:{path}")])
    assert can_connect(str(path))
    change.abandon()
    assert not path.exists()
    assert sockets.sockets == []


def test_listens_of_one_address_have_a_socket_each(sockets: SocketSet) -> None:
    """Port 0: each is another port."""
    before = use(sockets, listen("127.0.0.1:0"), listen("127.0.0.1:0"))
    assert use(sockets, listen("127.0.0.1:0"), listen("127.0.0.1:0")) == before
    assert use(sockets, listen("127.0.0.1:0")) == before[:1]


def test_a_unix_socket_stays_with_its_file_takes_a_mode_and_goes_with_it(
    sockets: SocketSet, tmp_path: Path
) -> None:
    path = tmp_path / "listen"
    before = use(sockets, listen(f"unix:{path}"))
    assert use(sockets, listen(f"unix:{path}", mode=0o600)) == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    use(sockets)
    assert not path.exists()


def test_copies_share_a_port_and_are_kept_when_fewer_are_wanted(sockets: SocketSet) -> None:
    (group,) = use(sockets, listen("127.0.0.1:0"), copies=3)
    assert len({each.getsockname() for each in group}) == 1
    assert len(set(names(sockets))) == 1
    assert use(sockets, listen("127.0.0.1:0"), copies=2) == [group]
    (more,) = use(sockets, listen("127.0.0.1:0"), copies=4)
    assert more[:3] == group
    assert len(more) == 4


def test_sockets_of_systemd_are_used_by_name_and_never_closed(sockets: SocketSet) -> None:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    sockets.take(from_systemd({"smtps": opened}))
    assert use(sockets, listen("systemd:smtps")) == [opened]
    assert use(sockets, listen("127.0.0.1:0")) != [opened]
    assert use(sockets, listen("systemd:smtps")) == [opened]
    with pytest.raises(ListenError, match="no socket of that name, but smtps"):
        sockets.prepare([listen("systemd:https")])


def test_a_socket_of_systemd_serves_one_listen(sockets: SocketSet) -> None:
    sockets.take(from_systemd({"smtps": [socket.create_server(("127.0.0.1", 0))]}))
    with pytest.raises(ListenError, match="no socket of that name"):
        sockets.prepare([listen("systemd:smtps"), listen("systemd:smtps")])


def test_another_process_can_take_them_over(sockets: SocketSet, tmp_path: Path) -> None:
    path = tmp_path / "listen"
    use(sockets, listen("127.0.0.1:0"), listen("127.0.0.1:0"), listen(f"unix:{path}"), copies=2)
    passed = [HandedOver(each.address, each.name, each.opened.dup()) for each in sockets.hand_over()]
    assert [each.address for each in passed] == ["127.0.0.1:0"] * 4 + [f"unix:{path}"]
    other = SocketSet()
    other.take(passed)
    try:
        other.prepare([listen("127.0.0.1:0"), listen("127.0.0.1:0"), listen(f"unix:{path}")]).commit()
        assert names(other) == names(sockets)
        sockets.close(keep_paths=True)
        assert can_connect(str(path))
        assert can_connect(other.sockets[0][0].opened.getsockname())
    finally:
        other.close()
    assert not path.exists()


def test_whether_a_wildcard_takes_ipv4_is_settled_when_it_is_opened(sockets: SocketSet) -> None:
    port = free_port()
    use(sockets, listen(f"[::]:{port}"), listen(f"0.0.0.0:{port}"))
    with pytest.raises(ListenError, match="accepts IPv4 as well while it is listened on: restart"):
        sockets.prepare([listen(f"[::]:{port}")])


def test_a_file_that_is_gone_already_is_no_trouble(sockets: SocketSet, tmp_path: Path) -> None:
    path = tmp_path / "listen"
    use(sockets, listen(f"unix:{path}"))
    path.unlink()
    use(sockets)
