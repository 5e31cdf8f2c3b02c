"""The EHLO reply (RFC 5321 §4.1.1.1): the backend's own, live, without what a client can't have through the proxy.

And which of TLS and AUTH it can have: what isn't offered is refused as well.
"""

import re
from functools import lru_cache
from typing import Final

from attrs import frozen

from tlsproxy.fronts.options import EsmtpOptions, TlsSecurityLevel
from tlsproxy.fronts.replies import Reply, multiline
from tlsproxy.fronts.verbs import IDENTITY_VERBS, UNCARRIABLE
from tlsproxy.identity.client import TlsFacts

_KEYWORD_END: Final = re.compile(rb"[ \t=]")
"""White space, or ``=`` as in the ``AUTH=LOGIN`` that is offered for old clients."""


@frozen
class Offer:
    """An EHLO reply as the client gets it."""

    data: bytes
    keywords: frozenset[bytes]
    """In capitals."""


def keyword_and_parameters(text: bytes) -> tuple[bytes, bytes]:
    """The keyword (capitals) and its parameters in ``text``, a line of an EHLO reply behind the code."""
    keyword, *parameters = _KEYWORD_END.split(text.strip(b" \t"), maxsplit=1)
    return keyword.upper(), b"".join(parameters)


def keywords(reply: Reply) -> dict[bytes, bytes]:
    """The parameters of each keyword (capitals) that an EHLO reply offers."""
    return dict(map(keyword_and_parameters, reply.texts[1:]))


def _keyword(text: bytes) -> bytes:
    return keyword_and_parameters(text)[0]


# Sessions in a row get the same reply from the same backend. Where it has the client's name in it, a few are kept in vain.
@lru_cache(maxsize=64)
def filtered(reply: Reply, hidden: frozenset[bytes], *, starttls: bool) -> Offer:
    """A backend's EHLO reply as the client may see it. Order and spelling are the backend's; so is the first line.

    STARTTLS is the proxy's own, at the end, and never the backend's.

    :param hidden: Keywords (capitals) to leave out, besides those that no client can have.
    :param starttls: Offer it.
    """
    greeting, *offered = reply.texts
    kept = [text for text in offered if not _is_hidden(_keyword(text), hidden)]
    if starttls:
        kept.append(b"STARTTLS")
    return Offer(multiline([greeting, *kept]), frozenset(map(_keyword, kept)))


def _is_hidden(keyword: bytes, hidden: frozenset[bytes]) -> bool:
    if keyword == b"BINARYMIME":  # it comes by BDAT only (RFC 3030 §3)
        return keyword in hidden or b"CHUNKING" in hidden
    return (
        keyword == b"STARTTLS"
        or keyword in hidden
        or keyword in UNCARRIABLE
        or keyword.startswith(IDENTITY_VERBS)
    )


def discarded_keywords(settings: EsmtpOptions, tls: TlsFacts | None) -> frozenset[bytes]:
    """The keywords (capitals) that the operator doesn't want offered."""
    words = settings.smtp_discard_ehlo_keywords
    if tls is not None and settings.smtp_discard_ehlo_keywords_tls is not None:
        words = settings.smtp_discard_ehlo_keywords_tls
    return _in_capitals(words)


@lru_cache(maxsize=64)  # asked for each EHLO; a configuration has few of them
def _in_capitals(words: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(word.upper().encode() for word in words)


def hidden_keywords(settings: EsmtpOptions, tls: TlsFacts | None) -> frozenset[bytes]:
    """The keywords (capitals) that a client with this TLS isn't offered."""
    hidden = discarded_keywords(settings, tls)
    return hidden if auth_hindrance(settings, tls) is None else hidden | {b"AUTH"}


def allows_starttls(settings: EsmtpOptions) -> bool:
    """Whether STARTTLS is a command here."""
    level = settings.tls_security_level
    return level is not TlsSecurityLevel.NONE and b"STARTTLS" not in discarded_keywords(settings, None)


def auth_hindrance(settings: EsmtpOptions, tls: TlsFacts | None) -> str | None:
    """Why AUTH is refused to a client with this TLS; None: it isn't."""
    floor = settings.smtp_auth_tls_protocols
    if tls is None:
        return "in plaintext" if settings.tls_auth_only or floor is not None else None
    if floor is None or tls.version in [version.label for version in floor.versions]:
        return None
    return f"{tls.version} is not in smtp_auth_tls_protocols ({floor})"
