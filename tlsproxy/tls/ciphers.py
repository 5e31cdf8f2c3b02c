"""``tls_ciphers`` and ``tls_ciphersuites``, held against what the TLS library makes of them.

OpenSSL skips what it doesn't know in a cipher list as long as something is left, and takes an unknown TLS 1.3 suite for
none at all. So a slip of the pen isn't noticed until a client is refused, unless somebody looks.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from OpenSSL import SSL

TLS13_SUITES: Final = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
)
"""The suites of RFC 8446 §B.4."""

SECURITY_LEVEL_0: Final = "@SECLEVEL=0"
"""TLS 1.0 and 1.1 need it: their signatures use SHA-1 (SSL_CTX_set_security_level(3))."""

_SEPARATORS: Final = re.compile(r"[:, ;]+")
# ciphers(1), and the semicolon of ssl_cipher_process_rulestr().


class CipherError(Exception):
    """A list can't be used; the message says why."""


def effective_cipher_list(text: str, *, reaches_below_tls12: bool) -> str:
    """What OpenSSL is given for ``tls_ciphers``: with security level 0 where the versions need it, unless it sets one."""
    return f"{text}:{SECURITY_LEVEL_0}" if reaches_below_tls12 and "@SECLEVEL" not in text else text


def set_ciphers(context: SSL.Context, cipher_list: str, ciphersuites: str) -> Iterator[tuple[str, str]]:
    """Put both lists into force.

    :returns: Problems: the option's name and what is wrong with its value.
    """
    for option, text, setter in (
        ("tls_ciphers", cipher_list, context.set_cipher_list),
        ("tls_ciphersuites", ciphersuites, context.set_tls13_ciphersuites),
    ):
        if not text.isascii() or not text.isprintable():
            yield option, f"{text!r} isn't printable ASCII"
            continue
        try:
            setter(text.encode("ascii"))
        except SSL.Error:
            yield option, f"{text!r} has no cipher suite of this TLS library in it"
    unknown = [name for name in _SEPARATORS.split(ciphersuites) if name and name not in TLS13_SUITES]
    if unknown:
        yield "tls_ciphersuites", f"unknown: {', '.join(unknown)}; TLS 1.3 has {', '.join(TLS13_SUITES)}"


def cipher_list_warnings(text: str, enabled: Sequence[str]) -> Iterator[str]:
    """What a valid cipher list does that its author may not expect.

    :param text: The value of ``tls_ciphers``.
    :param enabled: The suites that came of it.
    """
    idle = [element for element in _SEPARATORS.split(text) if element and not _names_a_suite(element)]
    if idle:
        yield f"no cipher suite of this TLS library matches {', '.join(map(repr, idle))}"
    open_suites = [name for name in enabled if name.startswith(("ADH-", "AECDH-")) or "NULL" in name]
    if open_suites:
        yield f"allows suites without authentication or encryption, {', '.join(open_suites)}: add !aNULL:!eNULL"


def _names_a_suite(element: str) -> bool:
    """Whether an element of a cipher list adds a suite. Those that take suites away, and commands, needn't match any."""
    if element[0] in "!-+@":
        return True
    try:
        SSL.Context(SSL.TLS_METHOD).set_cipher_list(f"{element}:{SECURITY_LEVEL_0}".encode("ascii"))
    except SSL.Error:
        return False
    return True


def is_usable(text: str) -> bool:
    """Whether OpenSSL finds a suite in a cipher list, or in a list of suites for TLS 1.3."""
    context = SSL.Context(SSL.TLS_METHOD)
    if any(name in TLS13_SUITES for name in _SEPARATORS.split(text)):
        return not [*set_ciphers(context, "DEFAULT", text)]
    return not [*set_ciphers(context, text, TLS13_SUITES[0])]
