"""A socket that listens, as the parts of the service hand it on."""

import socket
from pathlib import Path

from attrs import frozen


@frozen(eq=False)
class ListeningSocket:
    """A socket that listens for one listen of the configuration."""

    opened: socket.socket
    name: str
    """The address for logs and ``--listen``: as configured, with the real port where port 0 was asked for."""
    unix_path: Path | None = None
    """A socket file that goes with it."""

    def close(self) -> None:
        """Listen no more, in this process; the file stays."""
        self.opened.close()
