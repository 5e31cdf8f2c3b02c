"""What the client is still owed, oldest first: replies that the backend has to give, and what the proxy does itself.

SMTP has no numbers on its replies: the order is all that says which command one answers (RFC 2920 §3.1). So the proxy's own
replies wait until the backend's to the commands before them have come.
"""

from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from tlsproxy.fronts.verbs import Awaited

OWED_LIMIT: Final = 128
"""Commands without a reply, before the client isn't read any further: room for a group with the 100 RCPTs that RFC 5321
§4.5.3.1.8 asks for. More wait in the client's own TCP window."""

Action = Callable[[], None]


class Owed:
    """A queue of replies awaited and of actions."""

    __slots__ = ("_queue", "_synchronizing")

    def __init__(self) -> None:
        self._queue: deque[Awaited | Action] = deque()
        self._synchronizing = False

    def __len__(self) -> int:
        return len(self._queue)

    def expect(self, awaited: Awaited, *, pipelined: bool = False) -> None:
        """The backend will reply.

        :param pipelined: The client's next command may be read before it does.
        """
        self._queue.append(awaited)
        self._synchronizing = self._synchronizing or not pipelined

    def act(self, action: Action, *, pipelined: bool = True) -> None:
        """Do something when all replies before it are given: at once if none is awaited."""
        if self._queue:
            self._queue.append(action)
            self._synchronizing = self._synchronizing or not pipelined
        else:
            action()

    def replied(self) -> Awaited | None:
        """A reply has come: what it answers. None: nothing was awaited."""
        first = self._queue[0] if self._queue else None
        if not isinstance(first, Awaited):
            return None
        self._queue.popleft()
        return first

    def put_back(self, awaited: Awaited) -> None:
        """What was replied to needs another reply."""
        self._queue.appendleft(awaited)

    def settle(self) -> None:
        """Do what no reply stands before any more."""
        while self._queue:
            first = self._queue[0]
            if isinstance(first, Awaited):
                return
            self._queue.popleft()
            first()
        self._synchronizing = False

    def blocks(self, *, pipelining: bool) -> bool:
        """Whether the next command has to wait.

        :param pipelining: The backend takes commands before it has replied to the last one.
        """
        return bool(self._queue) and (self._synchronizing or not pipelining or len(self._queue) >= OWED_LIMIT)

    def awaits_any(self, kinds: Collection[Awaited]) -> bool:
        """Whether a reply of one of these kinds is awaited."""
        return any(entry in kinds for entry in self._queue)

    def awaits_only(self, kind: Awaited) -> bool:
        """Whether nothing but one reply of this kind is awaited."""
        return len(self._queue) == 1 and self._queue[0] is kind

    def clear(self) -> None:
        """Forget everything: no reply will come."""
        self._queue.clear()
        self._synchronizing = False
