"""The commands that an event leads to, with what goes to the same peer joined."""

from tlsproxy.fronts.commands import Command, SendToBackend, SendToClient


class Output:
    """Commands in order. One write for a pipelined group costs a tenth of one for each line."""

    __slots__ = ("_backend", "_client", "_commands")

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._client: list[bytes] = []
        self._backend: list[bytes] = []

    def to_client(self, data: bytes) -> None:
        self._client.append(data)

    def to_backend(self, data: bytes) -> None:
        self._backend.append(data)

    def add(self, command: Command) -> None:
        """A command that comes after all that was sent."""
        self._commands = self.take()
        self._commands.append(command)

    def take(self) -> list[Command]:
        """All commands so far, to be carried out."""
        commands, self._commands = self._commands, []
        if self._client:
            commands.append(SendToClient(b"".join(self._client)))  # a single piece isn't copied
            self._client.clear()
        if self._backend:
            commands.append(SendToBackend(b"".join(self._backend)))
            self._backend.clear()
        return commands
