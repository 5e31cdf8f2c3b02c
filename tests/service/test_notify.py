"""Messages to the service manager, read from a socket in its place."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlsproxy.service import notify as notify_module
from tlsproxy.service.notify import STATUS_LIMIT, notify, watchdog_interval


class Manager:
    """Receives at ``address``."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def received(self) -> str:
        return self.socket.recv(65536).decode()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = f"@tlsproxy-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    manager = Manager(address)
    yield manager
    manager.socket.close()


def test_ready_comes_with_a_status_in_one_message(manager: Manager) -> None:
    assert notify(ready=True, status="listening on 0.0.0.0:25", environ=manager.environ)
    assert manager.received() == "READY=1\nSTATUS=listening on 0.0.0.0:25"


@pytest.mark.parametrize(
    ("state", "message"), [("ready", "READY=1"), ("stopping", "STOPPING=1"), ("watchdog", "WATCHDOG=1")]
)
def test_each_state_has_its_word(manager: Manager, state: str, message: str) -> None:
    assert notify(environ=manager.environ, **{state: True})
    assert manager.received() == message


def test_reloading_tells_when_it_began(manager: Manager) -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert notify(reloading=True, environ=manager.environ)
    word, _, moment = manager.received().partition("\nMONOTONIC_USEC=")
    assert word == "RELOADING=1"
    assert before - 0.001 <= int(moment) / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)


def test_a_status_can_not_say_another_thing(manager: Manager) -> None:
    assert notify(status="fine\nREADY=1\0\x1b", environ=manager.environ)
    assert manager.received() == "STATUS=fine READY=1  "


def test_a_status_is_cut(manager: Manager) -> None:
    assert notify(status="x" * 100_000, environ=manager.environ)
    assert manager.received() == "STATUS=" + "x" * STATUS_LIMIT


def test_a_status_of_any_text_is_sent(manager: Manager) -> None:
    assert notify(status="gr\u00fcn \udc80", environ=manager.environ)
    assert manager.received().startswith("STATUS=gr\u00fcn ")


def test_outside_systemd_nothing_happens() -> None:
    assert not notify(ready=True, environ={})
    assert not notify(ready=True, environ={"NOTIFY_SOCKET": ""})


def test_nothing_to_say_sends_nothing(manager: Manager) -> None:
    assert not notify(environ=manager.environ)


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1234", "@" + "x" * 200, "/a\0b"])
def test_an_address_that_can_not_be_reached_raises_nothing(address: str) -> None:
    assert not notify(ready=True, environ={"NOTIFY_SOCKET": address})


def test_a_manager_that_does_not_read_holds_nobody_up(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify_module, "SEND_TIMEOUT", 0.05)
    for _ in range(100_000):
        if not notify(watchdog=True, environ=manager.environ):
            return
    pytest.fail("the queue never filled")


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0", "WATCHDOG_PID": "42"}, None),
        ({"WATCHDOG_USEC": "soon", "WATCHDOG_PID": "42"}, None),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "me"}, None),
    ],
)
def test_the_watchdog_is_told_twice_as_often_as_it_asks(
    environ: dict[str, str], interval: float | None
) -> None:
    pid = 42 if "WATCHDOG_PID" in environ else None
    assert watchdog_interval(environ, pid) == interval
