"""Twisted shells: sockets, connections, sessions. They carry bytes and commands, and take no decisions.

Seams are Twisted's interfaces: a leg is an ``IProtocol`` on an ``ITCPTransport``, whichever implementation that is.
"""
