"""Tests for :mod:`tlsproxy.fronts.output`."""

from tlsproxy.fronts.commands import CloseSession, SendToBackend, SendToClient, StartTls
from tlsproxy.fronts.output import Output


def test_what_goes_to_the_same_peer_is_joined() -> None:
    output = Output()
    for data in (b"a", b"b"):
        output.to_client(data)
        output.to_backend(data.upper())
    assert output.take() == [SendToClient(b"ab"), SendToBackend(b"AB")]
    assert output.take() == []


def test_a_single_piece_is_not_copied() -> None:
    output = Output()
    data = b"piece " * 100
    output.to_backend(data)
    [command] = output.take()
    assert isinstance(command, SendToBackend)
    assert command.data is data


def test_other_commands_stay_where_they_were_asked_for() -> None:
    output = Output()
    output.to_client(b"220")
    output.add(StartTls())
    output.to_client(b"421")
    output.add(CloseSession("x"))
    assert output.take() == [SendToClient(b"220"), StartTls(), SendToClient(b"421"), CloseSession("x")]
