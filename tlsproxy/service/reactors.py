"""Which of Twisted's reactors a process of the service runs on."""

import sys
from typing import Any

from twisted.application.reactors import installReactor

from tlsproxy.net.reactor import install


def reactor_of(choice: str | None) -> Any:
    """The process's reactor, installed now unless that was done before: importing it would install Twisted's default.

    :param choice: The name of one, as ``twistd --reactor`` takes it; None: the one made for this
        (:mod:`tlsproxy.net.reactor`).
    """
    if "twisted.internet.reactor" not in sys.modules:
        if choice is None:
            install()
        else:
            installReactor(choice)
    from twisted.internet import reactor

    return reactor
