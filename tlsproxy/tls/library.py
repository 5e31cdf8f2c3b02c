"""Which TLS library this is. Light to import: the command line asks for nothing else when it tells its version."""

from OpenSSL import SSL


def library_version() -> str:
    """The TLS library's own name and version: ``OpenSSL 4.0.3 29 Sep 2026``."""
    return SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii")
