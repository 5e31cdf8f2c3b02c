"""Which requests the proxy answers itself, and what it adds to responses: the ``http_`` options at work."""

import re
from functools import lru_cache
from typing import Final

from attrs import frozen

from tlsproxy.fronts.commands import StartTimer
from tlsproxy.fronts.http_answers import METHODS, NO_STORE, explanation
from tlsproxy.fronts.http_forward import FORWARDS_COUNTED, carried
from tlsproxy.fronts.http_request import Request, parse_host
from tlsproxy.fronts.options import FrontOptions, HttpOptions
from tlsproxy.identity.forwarded import Forwarding

_HTTPS_PORT: Final = 443

# RFC 8555 §8.3. The token names a file: nothing else is let through to one.
_CHALLENGE: Final = re.compile(r"/\.well-known/acme-challenge/([A-Za-z0-9_-]{1,128})")
_CHALLENGED: Final = frozenset({b"GET", b"HEAD"})

_ALLOW: Final = b"Allow: " + METHODS + b"\r\n"


@frozen
class Answer:
    """A response of the proxy's own."""

    status: int
    text: bytes
    fields: bytes = b""
    media_type: bytes = b"text/plain; charset=utf-8"


def refusal(status: int, detail: str) -> Answer:
    """An answer that says what is wrong. What is sent to a client holds no byte of its request."""
    return Answer(status, explanation(status, detail), NO_STORE)


class HttpPolicy:
    """What the options of a session come to.

    :ivar hsts: The line to add to responses that go by TLS; empty where there is none.
    :ivar request_timer: For the time that a head may take; ``keepalive_timer`` until one begins, ``response_timer`` for the
        backend's.
    """

    __slots__ = (
        "_options",
        "_refused_methods",
        "_settings",
        "_upgrades",
        "hsts",
        "keepalive_timer",
        "request_timer",
        "response_timer",
    )

    def __init__(self, options: FrontOptions, settings: HttpOptions) -> None:
        self._options = options
        self._settings = settings
        self._refused_methods = frozenset(method.encode() for method in settings.http_refused_methods)
        self._upgrades = frozenset(name.lower().encode() for name in settings.http_upgrades)
        self.hsts = _hsts(settings)
        self.request_timer = StartTimer(settings.http_request_timeout)
        self.keepalive_timer = StartTimer(settings.http_keepalive_timeout)
        self.response_timer = StartTimer(settings.http_response_timeout)

    def upgrades(self, request: Request) -> bool:
        """Whether the backend may be asked to go on with another protocol."""
        return bool(request.upgrade) and request.upgrade in self._upgrades

    def own_answer(self, request: Request, forwarding: Forwarding) -> Answer | None:
        """The answer to a request that isn't sent on; None for one that is."""
        line, settings = request.line, self._settings
        if line.method in self._refused_methods:
            return Answer(405, explanation(405, "the method isn't allowed here"), _ALLOW + NO_STORE)
        if self._options.read_challenge is not None and (challenge := self._challenge(request)) is not None:
            return challenge
        if settings.http_redirect and not forwarding.is_secure(carried(request)):
            return self._redirect(request)
        if 0 < settings.http_max_body_size < request.length:
            return refusal(413, "the body is too large")
        if request.has_body and self.upgrades(request):
            return refusal(400, "Upgrade and a body")
        if request.max_forwards == 0 and line.method in FORWARDS_COUNTED:
            return Answer(200, b"", _ALLOW)
        return None

    def _challenge(self, request: Request) -> Answer | None:
        path = _CHALLENGE.fullmatch(request.line.path)
        if path is None or request.line.method not in _CHALLENGED or self._options.read_challenge is None:
            return None
        content = self._options.read_challenge(path[1])
        return None if content is None else Answer(200, content, media_type=b"application/octet-stream")

    def _redirect(self, request: Request) -> Answer:
        """To the same target by https. 308 keeps the method; what GET and HEAD are told, old clients know too."""
        settings = self._settings
        host = parse_host(settings.http_redirect_host.encode() or request.host or b"")
        if host is None:
            return refusal(400, "no host to redirect to")
        name = b"[%b]" % host[0] if b":" in host[0] else host[0]
        port = b"" if settings.http_redirect_port == _HTTPS_PORT else b":%d" % settings.http_redirect_port
        target = request.line.target if request.line.target.startswith(b"/") else b"/"
        status = 301 if request.line.method in _CHALLENGED else 308
        location = b"Location: https://%b%b%b\r\n" % (name, port, target)
        return Answer(status, explanation(status, "use https"), location)


@lru_cache(maxsize=256)
def http_policy(options: FrontOptions) -> HttpPolicy:
    """The policy that sessions with the same options share."""
    return HttpPolicy(options, options.settings)


def _hsts(settings: HttpOptions) -> bytes:
    """RFC 6797 §6.1."""
    if not settings.http_hsts:
        return b""
    subdomains = b"; includeSubDomains" if settings.http_hsts_include_subdomains else b""
    preload = b"; preload" if settings.http_hsts_preload else b""
    return b"Strict-Transport-Security: max-age=%d%b%b\r\n" % (settings.http_hsts, subdomains, preload)
