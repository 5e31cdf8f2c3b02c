"""Makes ``twistd tlsproxy`` exist. Neither ``twisted/`` nor ``twisted/plugins/`` has an ``__init__.py``: they are Twisted's."""

from twisted.application.service import ServiceMaker

tlsproxy = ServiceMaker("tlsproxy", "tlsproxy.service.maker", "TLS-terminating proxy", "tlsproxy")
