"""How the backend learns who the client is: PROXY headers, XCLIENT, a ``Received:`` field.

:mod:`~tlsproxy.identity.client` has the facts, the other modules a wire format each. Pure: no socket, no clock, no OpenSSL.
"""
