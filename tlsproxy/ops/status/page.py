"""The status page, whole: one file of HTML with its style, its pictures and its script in it.

Nothing is fetched from elsewhere, and nothing but the style and the script that are part of this package can run: the
Content-Security-Policy names them by their hashes.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Final

from tlsproxy.ops.status.html import Markup, element
from tlsproxy.ops.status.model import ServiceState, ServiceStatus, ShadowReport
from tlsproxy.ops.status.overview import Finding, findings
from tlsproxy.ops.status.parts import View, pill, when
from tlsproxy.ops.status.places import backend_servers, certificate_list, listeners
from tlsproxy.ops.status.traffic import glance, refusals, tls
from tlsproxy.ops.status.upkeep import service, shadow
from tlsproxy.ops.status.words import plural

_FILES: Final = files(__package__)
_STYLE: Final = _FILES.joinpath("page.css").read_text("utf-8")
_SCRIPT: Final = _FILES.joinpath("page.js").read_text("utf-8")

SECTIONS: Final[Mapping[str, tuple[str, Callable[[View], Markup | None]]]] = {
    "listeners": ("Listeners", listeners),
    "tls": ("TLS", tls),
    "refusals": ("Refusals", refusals),
    "backends": ("Backends", backend_servers),
    "certificates": ("Certificates", certificate_list),
    "shadow": ("Who would break", shadow),
    "service": ("Service", service),
}
"""In the order of the page: what the page's own links lead to, and what makes it. One that has nothing to say is None."""

_STATES: Final = {
    ServiceState.RUNNING: ("running", "good"),
    ServiceState.RELOADING: ("reloading", "fair"),
    ServiceState.DRAINING: ("draining", "warn"),
}


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page's Content-Security-Policy."""


def render(status: ServiceStatus, now: float, report: ShadowReport | None = None) -> str:
    """The page.

    :param status: With its processes.
    :param now: Seconds since the epoch.
    """
    found = findings(status, now)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="robots", content="noindex"),
        element("link", rel="icon", href=_ICON),
        element("title", _title(status, found)),
        element("style", Markup(_STYLE)),
    )
    body = element(
        "body",
        element("a", "Skip to the status", href="#status", class_="skip"),
        element(
            "div",
            _header(status, now, found),
            _main(View(status, now, report), found),
            _footer(),
            class_="page",
        ),
        element("script", Markup(_SCRIPT)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


_ICON: Final = "data:,"
"""None: a browser would ask for /favicon.ico."""


def _title(status: ServiceStatus, found: list[Finding]) -> str:
    grave = sum(each.grave for each in found)
    return f"({grave}) tlsproxy" if grave else f"tlsproxy: {status.state.value}"


def _header(status: ServiceStatus, now: float, found: list[Finding]) -> Markup:
    state = element(
        "div",
        pill(*_STATES[status.state]),
        " ",
        _verdict(found),
        " ",
        when(now),
        id="state",
        class_="state",
    )
    box = element("input", type="checkbox", checked=True)
    refresh = element("label", box, "Refresh every 5 s", id="refresh", class_="refresh", hidden=True)
    name = element("div", _mark(), element("h1", "tlsproxy"), class_="name")
    return element("header", name, state, refresh)


def _verdict(found: list[Finding]) -> Markup:
    grave = sum(each.grave for each in found)
    if grave:
        return pill(plural(grave, "problem"), "bad")
    return pill(plural(len(found), "warning"), "warn") if found else pill("all is well", "good")


def _mark() -> Markup:
    """A shield with a keyhole."""
    return element(
        "svg",
        element("path", class_="body", d="M16 2 4 6.5v8.2C4 22 9 27.6 16 30c7-2.4 12-8 12-15.3V6.5z"),
        element("circle", class_="key", cx=16, cy=13, r=3.6),
        element("path", class_="key", d="M14.4 14.5h3.2l1.2 7h-5.6z"),
        class_="mark",
        viewBox="0 0 32 32",
        aria_hidden="true",
    )


def _main(view: View, found: list[Finding]) -> Markup:
    made = [(name, title, section(view)) for name, (title, section) in SECTIONS.items()]
    shown = [each for each in made if each[-1] is not None]
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in shown]
    return element(
        "main",
        element("nav", element("ul", links), aria_label="Sections"),
        _findings(found),
        glance(view),
        [content for _, _, content in shown],
        id="status",
        tabindex=-1,
    )


MAX_FINDINGS: Final = 20
"""Problems listed on top. A hundred servers that are out are one problem, and the sections show each."""


def _findings(found: list[Finding]) -> Markup | None:
    if not found:
        return None
    lines = [
        element(
            "li",
            element("a", each.message, href=f"#{each.section}"),
            class_="grave" if each.grave else "minor",
        )
        for each in found[:MAX_FINDINGS]
    ]
    return element("ul", lines, class_="findings", aria_label="Worth a look")


def _footer() -> Markup:
    return element(
        "footer",
        element("span", "Times are UTC, counts since the start of the service."),
        element("a", "status.json", href="/status.json"),
        element("a", "healthz", href="/healthz"),
        element("a", "readyz", href="/readyz"),
    )
