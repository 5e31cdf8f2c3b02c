"""What an operator is about to change, or has changed: the shadow report, reloads, and the processes."""

from collections.abc import Mapping
from typing import Any

from tlsproxy.ops.status import charts
from tlsproxy.ops.status.charts import Part
from tlsproxy.ops.status.figures import process_figure
from tlsproxy.ops.status.html import Content, Markup, element, join
from tlsproxy.ops.status.model import ProcessStatus, ReloadStatus, ServiceStatus
from tlsproxy.ops.status.overview import newest
from tlsproxy.ops.status.parts import (
    LOOK_OF_VERSION,
    View,
    card,
    code,
    empty,
    first,
    number,
    pill,
    section,
    table,
    when,
)
from tlsproxy.ops.status.words import NOTHING, count, phrase, plural, size, span


def shadow(view: View) -> Markup | None:
    """Whom the candidate policies would refuse; None where no listen has one."""
    report = view.report
    if report is None or not (report.summary or report.clients):
        return None
    clients, more = first(report.clients, 20)
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
        element(
            "td", pill(str(row.get("version", "")), LOOK_OF_VERSION.get(str(row.get("version")), "fair"))
        ),
        element("td", str(row.get("cipher") or "")),
        element("td", code(str(row.get("listen", "")))),
        number(count(row.get("sessions", 0))),
        element("td", when(row.get("last_seen", 0.0)), class_="quiet"),
    )


def service(view: View) -> Markup:
    """The last reload, and the processes."""
    status = view.status
    processes, more = first(status.processes)
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
    shown, more = first(reload.problems, 20)
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
