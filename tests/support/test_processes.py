"""Tests for :mod:`tests.support.processes`."""

import os
import select
import socket
import sys
from pathlib import Path

import pytest

from tests.support.processes import Program, ProgramError, free_port, free_ports, is_listening, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_run_gives_the_status_and_all_output() -> None:
    status, output = run(["sh", "-c", "cat; echo wrong >&2; exit 3"], input=b"right\n")
    assert (status, output) == (3, "right\nwrong\n")


def test_a_pattern_is_awaited_and_what_it_matched_returned() -> None:
    with Program(["sh", "-c", "echo one; read line; echo got $line; read never"]) as program:
        program.wait_for_output("^one$")
        program.send(b"two\n")
        assert program.wait_for_output("^got (.*)$")[1] == "two"


def test_a_pattern_that_cannot_come_any_more_fails_with_the_output() -> None:
    with Program(["sh", "-c", "echo said; exit 1"]) as program, pytest.raises(ProgramError, match="said"):
        program.wait_for_output("never said", timeout=60)


def test_a_pattern_that_does_not_come_in_time_fails() -> None:
    with Program(["cat"]) as program, pytest.raises(ProgramError, match="no 'word' in the output"):
        program.wait_for_output("word", timeout=0.01)


def test_a_port_is_awaited_without_connecting_to_it() -> None:
    port = free_port()
    code = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print('from', s.accept()[1][1])"
    with Program(python(code)) as program:
        program.wait_for_port(port)
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert program.wait_for_output("^from ([0-9]+)$")[1] == str(client.getsockname()[1])


def test_a_program_that_ends_instead_of_listening_fails_at_once() -> None:
    with Program(["false"]) as program, pytest.raises(ProgramError, match="the program ended"):
        program.wait_for_port(free_port(), timeout=60)


def test_a_path_is_awaited(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with Program(
        python(f"import socket; socket.socket(socket.AF_UNIX).bind({str(path)!r}); input()")
    ) as program:
        program.wait_for_path(path)
        assert path.is_socket()


def test_stopping_ends_what_the_program_started_too() -> None:
    with Program(["sh", "-c", "trap '' TERM; sleep 60 & echo $!; wait"]) as program:
        child = os.pidfd_open(int(program.wait_for_output("[0-9]+").group()))
        program.stop(timeout=0.1)
    ended, _, _ = select.select([child], [], [], 5)
    os.close(child)
    assert ended == [child]


def test_waiting_for_the_end_is_bounded() -> None:
    with Program(["cat"]) as program:
        with pytest.raises(ProgramError, match="still running"):
            program.wait(timeout=0.01)
        program.close_input()
        assert program.wait() == 0


def test_environment_and_directory_are_added(tmp_path: Path) -> None:
    with Program(["sh", "-c", "pwd; echo $WORD; echo $PATH"], env={"WORD": "here"}, cwd=tmp_path) as program:
        program.wait()
        assert program.output.split("\n")[:3] == [str(tmp_path), "here", os.environ["PATH"]]


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_listening_port_is_seen(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        assert is_listening(server.getsockname()[1])
