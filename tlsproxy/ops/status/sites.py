"""The web sites of a service: its metrics, and its status page.

Both only tell, and change nothing: GET and HEAD are all they know. What listens on loopback is still within reach of every
page in an administrator's browser, under a name that its owner lets point to 127.0.0.1: there a request has to name the
machine itself.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from socket import gethostname
from typing import Final

from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import INTERNAL_SERVER_ERROR, NOT_ALLOWED, NOT_FOUND, SERVICE_UNAVAILABLE
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tlsproxy.ops.merge import FamilyCollector, merged_families
from tlsproxy.ops.status.model import ShadowReport, StatusSource, service_to_values, whole_status
from tlsproxy.ops.status.page import POLICY, render
from tlsproxy.ops.status.readiness import why_not_ready

_TEXT: Final = "text/plain; charset=utf-8"

_MISDIRECTED: Final = 421
"""RFC 9110 §15.5.20: the request is for somebody else."""

_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}

Page = Callable[[Request], Awaitable[bytes]]
"""Makes the body of an answer, and sets what its header needs beyond the common fields."""

_log = Logger()


def metrics_site(source: StatusSource) -> Site:
    """A web site with the figures of a service at ``/metrics``, and nothing else."""

    async def metrics(request: Request) -> bytes:
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        request.setHeader("content-type", content_type)
        return encode(FamilyCollector(merged_families(await whole_status(source))))

    return _Site(_Pages({b"/metrics": metrics}))


def _no_report() -> ShadowReport | None:
    return None


def status_site(
    source: StatusSource,
    *,
    report: Callable[[], ShadowReport | None] = _no_report,
    clock: Callable[[], float] = time.time,
) -> Site:
    """A web site with the status of a service, and with answers for whoever watches over it.

    :param report: Gives the shadow report that is at hand.
    :param clock: Seconds since the epoch.
    """

    async def page(request: Request) -> bytes:
        status = await whole_status(source)
        request.setHeader("content-type", "text/html; charset=utf-8")
        request.setHeader("content-security-policy", POLICY)
        return render(status, clock(), report()).encode()

    async def status(request: Request) -> bytes:
        values = service_to_values(await whole_status(source))
        shadow = report()
        if shadow is not None:
            values["report"] = {"clients": list(shadow.clients), "summary": list(shadow.summary)}
        request.setHeader("content-type", "application/json")
        return json.dumps(values, indent=1).encode() + b"\n"

    async def alive(_request: Request) -> bytes:
        return b"ok\n"

    async def ready(request: Request) -> bytes:
        backend = (request.args or {}).get(b"backend", [None])[0]
        why = why_not_ready(await whole_status(source), None if backend is None else _readable(backend))
        return b"ok\n" if why is None else _refusal(request, SERVICE_UNAVAILABLE, f"503: {why}\n".encode())

    return _Site(_Pages({b"/": page, b"/status.json": status, b"/healthz": alive, b"/readyz": ready}))


def _readable(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


class _Pages(Resource):
    """Pages by their whole path, by GET or HEAD, and nothing else.

    Made in the reactor's thread: it is work of a few milliseconds.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, pages: Mapping[bytes, Page]) -> None:
        Resource.__init__(self)
        self._pages = pages

    def render(self, request: Request) -> bytes | int:
        """The page that is asked for; or why not."""
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        request.setHeader("content-type", _TEXT)
        page = self._pages.get(request.path)
        if not _is_meant(request):
            return _refusal(
                request, _MISDIRECTED, b"421: ask for this machine by its address, or as localhost\n"
            )
        if page is None:
            known = b", ".join(self._pages)
            return _refusal(request, NOT_FOUND, b"404: see " + known + b"\n")
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader("allow", "GET, HEAD")
            return _refusal(request, NOT_ALLOWED, b"405: GET or HEAD\n")
        self._answer(request, page)
        return NOT_DONE_YET

    def _answer(self, request: Request, page: Page) -> None:
        async def make() -> bytes:
            return await page(request)

        answer: Deferred[bytes] = Deferred.fromCoroutine(make())
        request.notifyFinish().addErrback(lambda _: answer.cancel())
        answer.addErrback(_failed, request)
        answer.addCallback(_finish, request)


def _failed(failure: Failure, request: Request) -> bytes | None:
    if failure.check(CancelledError):
        return None
    _log.failure("{path} can't be shown", failure, path=request.path)
    return _refusal(request, INTERNAL_SERVER_ERROR, b"500: see the log\n")


def _finish(body: bytes | None, request: Request) -> None:
    """:param body: None: the client didn't wait for it."""
    if body is None:
        return
    request.setHeader("content-length", str(len(body)))
    if request.method != b"HEAD":
        request.write(body)
    request.finish()


def _is_meant(request: Request) -> bool:
    """Whether the request's ``Host`` is one that nobody else could let point here; asked of loopback only."""
    own = ip_address(request.getHost().host)
    if not (getattr(own, "ipv4_mapped", None) or own).is_loopback:
        return True
    host = request.getRequestHostname().decode("ascii", "replace").strip("[]").lower()
    if host in _own_names():
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _own_names() -> set[str]:
    """Whoever lets one of them point elsewhere has this machine already. Debian lets its host name be 127.0.1.1."""
    name = gethostname().lower()
    return {"localhost", name, name.partition(".")[0]}


def _refusal(request: Request, status: int, text: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader("content-type", _TEXT)
    return text


class _Site(Site):
    """Says nothing about requests: a scrape every few seconds isn't worth a line each."""

    noisy = False

    def __init__(self, root: Resource) -> None:
        Site.__init__(self, root)

    def log(self, _request: HttpRequest) -> None:
        """Write no access log."""
