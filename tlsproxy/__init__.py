"""TLS-terminating proxy for mail servers too old to be given modern TLS.

The packages, lowest first; each imports only from those before it (DESIGN §5, held by ``tests/test_layout.py``):

``errors``, ``notes``
    what can go wrong, and what is worth telling
``policy``, ``fronts``, ``identity``
    pure rules and protocol machines: no socket, no clock, neither Twisted nor OpenSSL
``config``
    TOML to scopes to settings
``tls``
    pyOpenSSL, and nowhere else
``net``
    Twisted shells that carry bytes and take no decisions
``ops``, ``service``, ``cli``
    logs and metrics, assembling, the command line
"""

__version__ = "0.1.0"
