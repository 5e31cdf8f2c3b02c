"""Makes ``twistd tlsproxy`` exist. Without an ``__init__.py`` here or above, this directory adds to Twisted's own."""

from twisted.application.service import ServiceMaker

tlsproxy = ServiceMaker("tlsproxy", "tlsproxy.service.maker", "TLS-terminating proxy", "tlsproxy")
