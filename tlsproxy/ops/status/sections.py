"""The sections of the status page: each makes its part of the page of a status, and nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from attrs import field, frozen

from tlsproxy.ops.merge import merged_families
from tlsproxy.ops.status import charts
from tlsproxy.ops.status.charts import Part
from tlsproxy.ops.status.figures import Figures, process_figure
from tlsproxy.ops.status.html import Content, Markup, element, join
from tlsproxy.ops.status.model import (
    CertificateStatus,
    ListenStatus,
    PolicyStatus,
    ProcessStatus,
    ReloadStatus,
    ServiceStatus,
    ShadowReport,
)
from tlsproxy.ops.status.overview import (
    SOON,
    BackendView,
    ServerView,
    backends,
    certificates,
    days_left,
    listens,
    newest,
)
from tlsproxy.ops.status.words import (
    NOTHING,
    count,
    day,
    latency,
    machine_time,
    moment,
    phrase,
    plural,
    share,
    size,
    span,
)

MAX_ROWS: Final = 100
"""Rows of one table: a page stays below a megabyte whatever the configuration holds. The rest is in ``/status.json``."""

LONG: Final = 36
"""Characters of a name that a table has room for; the rest shows when it is pointed at."""

MAX_NAMES: Final = 4
"""Names of one certificate that are shown."""

LIFETIME: Final = 90
"""Days that a full bar of a certificate's time stands for: what public authorities give."""

_VERSIONS: Final = {
    "TLSv1.3": "tls13",
    "TLSv1.2": "tls12",
    "TLSv1.1": "tls11",
    "TLSv1": "tls10",
}
"""Each version's look, the best first: old ones are to be seen."""

_STANDINGS: Final = {"up": "good", "returning": "fair", "ejected": "warn", "down": "bad"}
_RENEGOTIATION: Final = {"refused": "good", "warned": "fair", "allowed": "warn"}

_T = TypeVar("_T")


@frozen
class View:
    """What sections are made of."""

    status: ServiceStatus
    now: float
    report: ShadowReport | None
    figures: Figures = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "figures", Figures(merged_families(self.status)))


# Parts


def pill(word: str, look: str) -> Markup:
    """A word with a colour behind it. The word alone says it."""
    return element("span", word, class_=f"pill {look}")


def code(value: str) -> Markup:
    """An address, a name, a path."""
    return element("code", value, title=value if len(value) > LONG else None)


def beneath(value: Content) -> Markup:
    """A second line in a cell."""
    return element("div", value, class_="beneath")


def when(moment_: float) -> Markup:
    """A point in time."""
    return element("time", moment(moment_), datetime=machine_time(moment_))


def section(identifier: str, title: str, *content: Content, note: str = "") -> Markup:
    """A part of the page under a heading."""
    heading = element("h2", title, id=f"{identifier}-title")
    about = element("p", note, class_="about") if note else None
    inside = (element("div", heading, about, class_="heading"), *content)
    return element("section", *inside, id=identifier, aria_labelledby=f"{identifier}-title")


def card(title: str, *content: Content) -> Markup:
    """A picture under a small heading."""
    return element("div", element("h3", title), *content, class_="card")


def empty(message: str) -> Markup:
    """Says that there is nothing to show."""
    return element("p", message, class_="empty")


def table(caption: str, heads: Sequence[str], rows: Iterable[Markup], *, more: int = 0) -> Markup:
    """A table that scrolls by itself where it is too wide.

    :param heads: A head that begins with ``#`` is of a column of numbers.
    :param more: Rows left out.
    """
    columns = [
        element("th", head.lstrip("#"), scope="col", class_="number" if head.startswith("#") else None)
        for head in heads
    ]
    inside = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", columns)),
        element("tbody", rows),
    )
    left = element("p", f"{plural(more, 'more row')}: see /status.json", class_="about") if more else None
    return join(element("div", inside, class_="scroll", tabindex=0, role="region", aria_label=caption), left)


def number(value: Content) -> Markup:
    """A cell with a figure."""
    return element("td", value, class_="number")


def _first(rows: Sequence[_T], limit: int = MAX_ROWS) -> tuple[Sequence[_T], int]:
    return rows[:limit], max(0, len(rows) - limit)


# Figures at a glance


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


# Listeners


def listeners(view: View) -> Markup:
    """What is listened on, and the policy in force there."""
    shown, more = _first(listens(view.status))
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
    policies, more = _first(listen.policies, 20)
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
    versions = [pill(name, _VERSIONS.get(name, "fair")) for name in policy.tls_protocols.split()]
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


# TLS


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
    known = [Part(name, versions[name], look) for name, look in _VERSIONS.items() if name in versions]
    others = [Part(name, value, "tls10") for name, value in versions.items() if name not in _VERSIONS]
    return known + others


# Refusals


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


# Backends


def backend_servers(view: View) -> Markup:
    """Where sessions go, and how the servers there stand."""
    views, more = _first(backends(view.status))
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
                    for each in _first(list(backend.servers.values()))[0]
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


# Certificates


def certificate_list(view: View) -> Markup:
    """The certificates in use, and how long they last."""
    shown, more = _first(certificates(view.status))
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


# Shadow report


def shadow(view: View) -> Markup | None:
    """Whom the candidate policies would refuse; None where no listen has one."""
    report = view.report
    if report is None or not (report.summary or report.clients):
        return None
    clients, more = _first(report.clients, 20)
    parts: list[Content] = [element("div", [_summary(each) for each in report.summary[:20]], class_="cards")]
    if clients:
        heads = ("Client network", "Calls itself", "Version", "Cipher", "Listen", "#Sessions", "Last seen")
        parts.append(
            table("Clients that would be refused", heads, [_client_row(each) for each in clients], more=0)
        )
    if more:
        parts.append(element("p", f"{plural(more, 'more client')}: see tlsproxy report", class_="about"))
    note = "Sessions that tls_protocols_report would refuse. They are let through."
    return section("shadow", "Who would break", *parts, note=note)


def _summary(row: Mapping[str, Any]) -> Markup:
    sessions, refused = row.get("sessions", 0), row.get("refused", 0)
    parts = [Part("would go on", sessions - refused, "tls13"), Part("would be refused", refused, "tls10")]
    title = f"{row.get('candidate', '')} on {row.get('listen', '')}"
    networks = element("p", f"From {plural(row.get('networks', 0), 'network')}.", class_="about")
    return card(title, charts.shares(title, parts), networks if refused else None)


def _client_row(row: Mapping[str, Any]) -> Markup:
    name = row.get("helo") or row.get("server_name")
    return element(
        "tr",
        element("th", code(str(row.get("network", ""))), scope="row"),
        element("td", code(str(name)) if name else element("span", "nothing", class_="quiet")),
        element("td", pill(str(row.get("version", "")), _VERSIONS.get(str(row.get("version")), "fair"))),
        element("td", str(row.get("cipher") or "")),
        element("td", code(str(row.get("listen", "")))),
        number(count(row.get("sessions", 0))),
        element("td", when(row.get("last_seen", 0.0)), class_="quiet"),
    )


# The service itself


def service(view: View) -> Markup:
    """The last reload, and the processes."""
    status = view.status
    processes, more = _first(status.processes)
    facts = [
        ("Configuration", code(status.config)),
        ("Started", join(when(status.started), f", {span(view.now - status.started)} ago")),
        ("Generation", _generation(status)),
        ("Reloads", f"{count(status.reloads)} carried out, {count(status.reloads_failed)} refused"),
        ("Workers", f"{count(status.workers)}, {count(status.worker_restarts)} replaced since the start"),
        ("Versions", f"tlsproxy {status.version} with {status.tls_library}"),
    ]
    described = element("dl", [_fact(*fact) for fact in facts], class_="facts")
    reload = _reload(status.last_reload, view.now)
    heads = ("Process", "#Worker", "#Generation", "State", "#Sessions", "#Memory", "#CPU time")
    rows = [_process_row(each, status) for each in processes]
    content = table("Processes", heads, rows, more=more) if rows else empty("No process answers.")
    return section("service", "Service", described, reload, content)


def _generation(status: ServiceStatus) -> str:
    draining = len(status.processes) - len(newest(status))
    return (
        f"{status.generation}, {plural(draining, 'process', 'processes')} draining"
        if draining
        else str(status.generation)
    )


def _fact(name: str, value: Content) -> Markup:
    return element("div", element("dt", name), element("dd", value))


def _reload(reload: ReloadStatus | None, now: float) -> Markup:
    if reload is None:
        return element("p", "No reload since the start.", class_="about")
    words = ("carried out", "good") if reload.ok else ("refused", "bad")
    line = element(
        "p",
        element("strong", "Last reload "),
        pill(*words),
        " ",
        when(reload.when),
        f" ({span(now - reload.when)} ago), by {phrase(reload.trigger)}, in {reload.duration:.2f} s.",
    )
    shown, more = _first(reload.problems, 20)
    problems = [
        element("li", code(each.path) if each.path else None, " " if each.path else None, each.message)
        for each in shown
    ]
    if more:
        problems.append(element("li", f"and {count(more)} more"))
    return element("div", line, element("ul", problems) if problems else None, class_="reload")


def _process_row(process: ProcessStatus, status: ServiceStatus) -> Markup:
    drains = process.generation < max(each.generation for each in status.processes)
    memory = process_figure(process.families, "process_resident_memory_bytes")
    cpu = process_figure(process.families, "process_cpu_seconds")
    return element(
        "tr",
        element("th", code(str(process.pid)), scope="row"),
        number(str(process.worker)),
        number(str(process.generation)),
        element("td", pill("draining", "fair") if drains else pill("serving", "good")),
        number(count(process.sessions)),
        number(NOTHING if memory is None else size(memory)),
        number(NOTHING if cpu is None else span(cpu)),
    )


SECTIONS: Final[tuple[Callable[[View], Markup | None], ...]] = (
    listeners,
    tls,
    refusals,
    backend_servers,
    certificate_list,
    shadow,
    service,
)
"""In the order of the page. One that has nothing to say returns None."""
