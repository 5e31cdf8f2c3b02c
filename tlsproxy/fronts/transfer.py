"""Content on its way to the backend; or, when there is no use in that any more, to nowhere.

A client writes all of its message before it reads a reply. So when the backend is lost or the message refused in the
middle, the rest is read to its end and thrown away, and then the client gets the verdict. A connection closed under it
would be no answer: it would try again, for days, what can't succeed.
"""

from typing import Final

from attrs import define

from tlsproxy.fronts.content import Body
from tlsproxy.fronts.verbs import Awaited

SWALLOW_LIMIT: Final = 64 * 1024 * 1024
"""Bytes thrown away for the sake of the reply: more than the common ``message_size_limit``."""


@define
class Verdict:
    """What the client is told of a message that the backend doesn't get to the end."""

    reply: bytes
    reason: str
    """Why the session ends with it."""


@define
class Transfer:
    """The content behind one DATA or BDAT."""

    _body: Body
    awaited: Awaited
    """What the backend replies to at its end."""
    verdict: Verdict | None = None
    """There is no backend any more, and this is the reply."""
    _swallowed: int = 0

    def receive(self, data: bytes) -> bytes:
        """Take bytes as they came; what of them goes to the backend."""
        passed = self._body.receive(data)
        if self.verdict is None:
            return passed
        self._swallowed += len(data)
        return b""

    @property
    def refused(self) -> str | None:
        """What was found in the content that refuses it."""
        return self._body.refused

    @property
    def rest(self) -> bytes | None:
        """None until the content is over, then the bytes received behind it."""
        if self._body.rest is None and self._swallowed > SWALLOW_LIMIT:
            return b""
        return self._body.rest
