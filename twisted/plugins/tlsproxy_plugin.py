"""Makes ``twistd tlsproxy`` exist. Without an ``__init__.py`` here or above, this directory adds to Twisted's own."""

import gc
from typing import Any

from twisted.application.service import ServiceMaker


class _Maker(ServiceMaker):
    """Imports the service out of the garbage collector's way.

    Nearly all of the 60,000 objects that importing makes stay for good. Looking at them again and again meanwhile is a
    tenth of the start, and later a part of every long pause.
    """

    @property
    def options(self) -> Any:
        # A look at the young ones after 5,000 of them, fifty sessions' worth, instead of 700: often enough.
        gc.set_threshold(5000)
        try:
            return super().options
        finally:
            gc.freeze()


tlsproxy = _Maker("tlsproxy", "tlsproxy.service.maker", "TLS-terminating proxy", "tlsproxy")  # type: ignore[no-untyped-call]
