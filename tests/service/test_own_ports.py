"""What the process itself listens on follows the configuration."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from tests.support.processes import free_port
from tlsproxy.config.addresses import TcpAddress
from tlsproxy.config.model import Configuration
from tlsproxy.net.sockets import ListenError
from tlsproxy.service.own_ports import OwnPorts


class Reactor(MemoryReactorClock):
    def addReader(self, reader: Any) -> None:
        """Nothing is read."""

    removeReader = addReader  # noqa: N815 - Twisted's name


def factories() -> dict[str, Any]:
    return dict.fromkeys(("metrics_listen", "status_listen", "control_socket"), Factory)


def configuration(metrics: int | None = None, control: Path | None = None) -> Configuration:
    address = None if metrics is None else TcpAddress("127.0.0.1", metrics)
    return Configuration(
        source="x", metrics_listen=address, control_socket=None if control is None else str(control)
    )


REACTOR = Reactor()  # type: ignore[no-untyped-call]


def close(own: OwnPorts) -> None:
    own.close()
    REACTOR.advance(1)


@pytest.fixture
def own() -> Iterator[OwnPorts]:
    made = OwnPorts(REACTOR, factories())
    yield made
    close(made)


def use(own: OwnPorts, wanted: Configuration, **how: Any) -> None:
    own.commit(own.prepare(wanted, **how))
    REACTOR.advance(1)


def can_connect(address: str | tuple[str, int]) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        return client.connect_ex(address) == 0


def test_the_control_socket_is_its_owner_s_alone_and_goes_with_the_service(
    own: OwnPorts, tmp_path: Path
) -> None:
    path = tmp_path / "control"
    use(own, configuration(control=path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert can_connect(str(path))
    close(own)
    assert not path.exists()


def test_the_control_socket_is_given_to_who_the_process_will_be(tmp_path: Path) -> None:
    own = OwnPorts(REACTOR, factories(), owner=(os.getuid(), os.getgid()))
    use(own, configuration(control=tmp_path / "control"))
    assert (tmp_path / "control").stat().st_uid == os.getuid()
    close(own)


def test_one_left_behind_is_replaced_and_one_in_use_is_not(own: OwnPorts, tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(
            ListenError, match=r"^control_socket: can't listen on unix:.*in use by another process"
        ):
            own.prepare(configuration(control=path))
    use(own, configuration(control=path))
    assert can_connect(str(path))


def test_what_stays_is_kept_and_what_changes_moves(own: OwnPorts, tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    use(own, configuration(first, tmp_path / "control"))
    inode = (tmp_path / "control").stat().st_ino
    use(own, configuration(second, tmp_path / "control"))
    assert (tmp_path / "control").stat().st_ino == inode
    assert can_connect(("127.0.0.1", second))
    use(own, configuration())
    assert not (tmp_path / "control").exists()


def test_what_cannot_be_had_leaves_nothing_open(own: OwnPorts, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = configuration(taken.getsockname()[1], tmp_path / "control")
        with pytest.raises(ListenError, match=r"^metrics_listen: "):
            own.prepare(wanted)
    assert not (tmp_path / "control").exists()


def test_a_successor_has_the_path_once_it_serves_and_its_predecessor_leaves_it(
    own: OwnPorts, tmp_path: Path
) -> None:
    path, port = tmp_path / "control", free_port()
    use(own, configuration(port, path))
    before = path.stat().st_ino
    successor = OwnPorts(REACTOR, factories())
    handed_over = own.hand_over()
    assert [each.address for each in handed_over] == [f"metrics_listen=127.0.0.1:{port}"]
    passed = [type(each)(each.address, each.name, each.opened.dup()) for each in handed_over]
    change = successor.prepare(configuration(port, path), handed_over=passed, take_over=True)
    assert path.stat().st_ino == before
    successor.commit(change)
    assert path.stat().st_ino != before
    close(own)
    assert can_connect(str(path))
    assert can_connect(("127.0.0.1", port))
    close(successor)
    assert not path.exists()
