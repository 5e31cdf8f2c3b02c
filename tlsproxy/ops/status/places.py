"""Where sessions come in and go to: sections of the status page that follow the configuration."""

from typing import Final

from tlsproxy.ops.status import charts
from tlsproxy.ops.status.figures import Figures
from tlsproxy.ops.status.html import Markup, element, join
from tlsproxy.ops.status.model import CertificateStatus, ListenStatus, PolicyStatus
from tlsproxy.ops.status.overview import (
    SOON,
    BackendView,
    ServerView,
    backends,
    certificates,
    days_left,
    listens,
)
from tlsproxy.ops.status.parts import (
    LOOK_OF_VERSION,
    View,
    beneath,
    code,
    empty,
    first,
    number,
    pill,
    section,
    table,
)
from tlsproxy.ops.status.words import NOTHING, count, day, latency, machine_time, phrase, plural

MAX_NAMES: Final = 4
"""Names of one certificate that are shown."""

LIFETIME: Final = 90
"""Days that a full bar of a certificate's time stands for: what public authorities give."""

_STANDINGS: Final = {"up": "good", "returning": "fair", "ejected": "warn", "down": "bad"}
_RENEGOTIATION: Final = {"refused": "good", "warned": "fair", "allowed": "warn"}


def listeners(view: View) -> Markup:
    """What is listened on, and the policy in force there."""
    shown, more = first(listens(view.status))
    rows = [row for each in shown for row in _listen_rows(each, view.figures)]
    heads = (
        "Listen",
        "#Live",
        "#Total",
        "Clients",
        "TLS",
        "Versions",
        "Set by",
        "Renegotiation",
    )
    content = (
        table("Listeners and their policies", heads, rows, more=more) if rows else empty("Nothing listens.")
    )
    return section("listeners", "Listeners", content, note="The policy in force, and the scope that set it.")


def _listen_rows(listen: ListenStatus, figures: Figures) -> list[Markup]:
    """One for clients in no peer, and one for each network with options of its own."""
    policies, more = first(listen.policies, 20)
    span_ = len(policies) + bool(more) or 1
    own = [
        element(
            "th",
            code(listen.name),
            beneath(f"{listen.kind} to {listen.backend}"),
            scope="rowgroup",
            rowspan=span_,
        ),
        *(
            element("td", count(figures.sum(name, listen=listen.name)), class_="number", rowspan=span_)
            for name in ("sessions", "sessions_started_total")
        ),
    ]
    others = "all others" if len(listen.policies) > 1 else "all"
    rows = [_policy_cells(policy, others) for policy in policies]
    if more:
        rows.append(element("td", f"{plural(more, 'more network')}", class_="quiet", colspan=5))
    return [element("tr", own if not index else None, row) for index, row in enumerate(rows or [Markup()])]


def _policy_cells(policy: PolicyStatus, others: str) -> Markup:
    versions = [pill(name, LOOK_OF_VERSION.get(name, "fair")) for name in policy.tls_protocols.split()]
    return join(
        element("td", code(policy.network) if policy.network else element("span", others, class_="quiet")),
        element("td", policy.tls if policy.tls != "never" else pill("never", "warn")),
        element("td", element("span", versions, class_="pills") if versions else NOTHING),
        element("td", policy.tls_protocols_origin, class_="quiet wide"),
        element(
            "td",
            pill(policy.renegotiation, _RENEGOTIATION.get(policy.renegotiation, "fair"))
            if versions
            else NOTHING,
        ),
    )


def backend_servers(view: View) -> Markup:
    """Where sessions go, and how the servers there stand."""
    views, more = first(backends(view.status))
    heads = (
        "Server",
        "State",
        "#At work",
        "#Kept",
        "#Opening",
        "#Used",
        "#Connect (p50)",
        "#Connect (p95)",
        "#Failures",
        "#Outages",
    )
    parts = [
        element(
            "div",
            element("h3", backend.name, " ", element("span", _backend_words(backend), class_="quiet")),
            table(
                f"Servers of backend {backend.name}",
                heads,
                [
                    _server_row(backend, each, view.figures)
                    for each in first(list(backend.servers.values()))[0]
                ],
            ),
            class_="group",
        )
        for backend in views
    ]
    left = element("p", f"{plural(more, 'more backend')}: see /status.json", class_="about") if more else None
    return section("backends", "Backends", parts or empty("There is none."), left)


def _backend_words(backend: BackendView) -> str:
    checked = "checked actively" if backend.checked else "not checked actively"
    waiting = f", {plural(backend.waiting, 'client')} waiting" if backend.waiting else ""
    return f"{phrase(backend.policy)}, {checked}{waiting}"


def _server_row(backend: BackendView, server: ServerView, figures: Figures) -> Markup:
    labels = {"backend": backend.name, "server": server.address}
    seen = sum(server.standings.values())
    same = server.standings[server.standing]
    some = element("span", f" in {same} of {plural(seen, 'worker')}", class_="quiet") if same < seen else None
    return element(
        "tr",
        element("th", code(server.address), scope="row"),
        element("td", pill(server.standing, _STANDINGS.get(server.standing, "fair")), some),
        number(count(server.busy)),
        number(count(server.idle)),
        number(count(server.pending)),
        number(count(figures.sum("backend_connections_used_total", **labels))),
        number(latency(figures.quantile("backend_connect_seconds", 0.5, **labels))),
        number(latency(figures.quantile("backend_connect_seconds", 0.95, **labels))),
        number(count(figures.sum("backend_failures_total", **labels))),
        number(count(figures.sum("backend_server_outages_total", **labels))),
    )


def certificate_list(view: View) -> Markup:
    """The certificates in use, and how long they last."""
    shown, more = first(certificates(view.status))
    rows = [_certificate_row(each, view.now) for each in shown]
    heads = ("Certificate", "Time left", "Ends", "Key", "SHA-256")
    content = table("Certificates", heads, rows, more=more) if rows else empty("None is in use.")
    return section("certificates", "Certificates", content)


def _certificate_row(certificate: CertificateStatus, now: float) -> Markup:
    left = days_left(certificate, now)
    look = "bad" if left < 0 else "warn" if left < SOON else "good"
    words = "ended" if left < 0 else plural(left, "day")
    names = list(certificate.names[:MAX_NAMES])
    more = len(certificate.names) - len(names)
    beyond = element("span", f" and {more} more", class_="quiet") if more else None
    return element(
        "tr",
        element("th", code(", ".join(names) or "no name"), beyond, beneath(certificate.path), scope="row"),
        element("td", pill(words, look), charts.bar(max(0, left), LIFETIME, look), class_="lasting"),
        element(
            "td", element("time", day(certificate.not_after), datetime=machine_time(certificate.not_after))
        ),
        element("td", certificate.key_type),
        element("td", element("code", f"{certificate.sha256[:16]}…", title=certificate.sha256)),
    )
