"""Assembling: a configuration made ready, its sockets, the service that runs on them."""

import tlsproxy.service.activation  # noqa: F401 - before anything that imports Twisted's endpoints
