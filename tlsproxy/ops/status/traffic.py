"""What went through the service: sections of the status page that are made of counts."""

from collections.abc import Mapping

from tlsproxy.ops.status import charts
from tlsproxy.ops.status.charts import Part
from tlsproxy.ops.status.figures import Figures
from tlsproxy.ops.status.html import Markup, element
from tlsproxy.ops.status.overview import backends
from tlsproxy.ops.status.parts import LOOK_OF_VERSION, View, card, empty, section
from tlsproxy.ops.status.words import count, phrase, plural, share, size


def glance(view: View) -> Markup:
    """The figures that tell how the service does."""
    figures, status = view.figures, view.status
    servers = [server for backend in backends(status) for server in backend.servers.values()]
    up = sum(not server.is_out for server in servers)
    handshakes, refused = figures.sum("handshakes_total"), figures.sum("tls_refused_total")
    resumed = figures.sum("handshakes_resumed_total")
    tiles = [
        _tile("Live sessions", count(figures.sum("sessions")), f"{count(_started(figures))} since the start"),
        _tile("TLS handshakes", count(handshakes), f"{share(resumed, handshakes)} resumed"),
        _tile("Refused by TLS", count(refused), f"{share(refused, refused + handshakes)} of all attempts"),
        _tile("Servers up", f"{up} of {len(servers)}", plural(len(backends(status)), "backend")),
        _tile(
            "From clients", size(figures.sum("client_bytes_total", direction="from_client")), "ended sessions"
        ),
        _tile("To clients", size(figures.sum("client_bytes_total", direction="to_client")), "ended sessions"),
    ]
    return element("dl", tiles, class_="tiles")


def _started(figures: Figures) -> float:
    return figures.sum("sessions_started_total")


def _tile(name: str, value: str, beside: str) -> Markup:
    return element(
        "div",
        element("dt", name),
        element("dd", element("strong", value), element("span", beside, class_="quiet")),
    )


def tls(view: View) -> Markup:
    """What clients negotiated."""
    figures = view.figures
    versions = figures.by("handshakes_total", "version")
    if not versions:
        return section("tls", "TLS", empty("No handshake yet."))
    named = figures.by("handshakes_by_server_name_total", "server_name")
    resumed, total = figures.sum("handshakes_resumed_total"), figures.sum("handshakes_total")
    cards = [
        card(
            "Versions",
            charts.shares("TLS versions", _version_parts(versions)),
            element("h3", "Handshakes"),
            charts.shares(
                "Handshakes", [Part("full", total - resumed, "plain"), Part("resumed", resumed, "second")]
            ),
        ),
        card("Cipher suites", charts.bars(figures.by("handshakes_total", "cipher"))),
        card(
            "Key exchange groups",
            charts.bars(figures.by("handshakes_total", "group")),
            element("h3", "Server name asked for (SNI)"),
            charts.shares("Server names", _name_parts(named)),
        ),
    ]
    return section("tls", "TLS", element("div", cards, class_="cards"), note="Handshakes since the start.")


def _name_parts(named: Mapping[str, float]) -> list[Part]:
    return [
        Part("of a certificate", named.get("known", 0), "tls13"),
        Part("unknown", named.get("unknown", 0), "tls11"),
        Part("none", named.get("none", 0), "rest"),
    ]


def _version_parts(versions: Mapping[str, float]) -> list[Part]:
    known = [Part(name, versions[name], look) for name, look in LOOK_OF_VERSION.items() if name in versions]
    others = [Part(name, value, "tls10") for name, value in versions.items() if name not in LOOK_OF_VERSION]
    return known + others


def refusals(view: View) -> Markup:
    """What was refused, and why."""
    figures = view.figures
    found = [
        ("TLS refused", _phrased(figures.by("tls_refused_total", "reason"))),
        ("Limits hit", figures.by("limit_hits_total", "limit")),
        ("Attacks and protocol refusals", _phrased(figures.by("front_reports_total", "what"))),
        ("Renegotiation attempts", _phrased(figures.by("renegotiation_attempts_total", "outcome"))),
        ("KeyUpdate floods", figures.by("key_update_limit_hits_total", "leg")),
        ("Backend full", figures.by("backend_full_total", "backend")),
        ("PROXY headers refused", figures.by("proxy_headers_refused_total", "listen")),
        ("Internal errors", figures.by("session_faults_total", "listen")),
    ]
    cards = [card(title, charts.bars(counts, "refusal")) for title, counts in found if counts]
    none = ", ".join(title for title, counts in found if not counts)
    ends = _phrased(figures.by("sessions_ended_total", "reason"))
    if ends:
        cards.append(card("How sessions ended", charts.bars(ends)))
    quiet = element("p", f"None so far: {none}.", class_="about") if none else None
    content = element("div", cards, class_="cards") if cards else None
    return section("refusals", "Refusals and limits", content, quiet)


def _phrased(counts: Mapping[str, float]) -> dict[str, float]:
    return {phrase(name): value for name, value in counts.items()}
