"""What the two web sites answer: figures, status and probes by GET and HEAD, to nobody who was lured here."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.server import Site

from tests.ops.status.samples import LISTEN, NOW, SERVICE, Source
from tests.ops.status.views import CLIENT, SUMMARY
from tlsproxy.ops.status import sites
from tlsproxy.ops.status.model import ProcessStatus, ServiceState, ShadowReport, service_from_values
from tlsproxy.ops.status.page import POLICY, render
from tlsproxy.ops.status.sites import metrics_site, status_site

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 9466)

Answer = tuple[int, dict[str, str], str]


class Connection:
    """A client's connection to a site."""

    def __init__(self, site: Site, own: Any = LOOPBACK) -> None:
        self.transport = StringTransport(hostAddress=own)
        self.channel = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, request_line: str, *fields: str, host: str = "127.0.0.1:9466") -> "Connection":
        lines = [f"{request_line} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
        self.channel.dataReceived("\r\n".join(lines).encode())
        return self

    def close(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    def answer(self) -> Answer:
        head, _, body = self.transport.value().decode().partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        self.close()
        return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def get(site: Site, path: str, *fields: str, **options: Any) -> Answer:
    return Connection(site).send(f"GET {path}", *fields, **options).answer()


SITES = [
    (metrics_site, "/metrics"),
    (status_site, "/"),
    (status_site, "/status.json"),
    (status_site, "/healthz"),
]

each_site = pytest.mark.parametrize(("site", "path"), SITES, ids=[path for _, path in SITES])

SiteMaker = Callable[[Source], Site]


def test_metrics_are_those_of_all_processes_and_read_by_prometheus() -> None:
    status, fields, body = get(metrics_site(Source()), "/metrics")
    assert status == 200
    assert fields["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    [sample] = families["tlsproxy_sessions_started"].samples
    assert (sample.labels, sample.value) == ({"listen": LISTEN, "kind": "esmtp"}, 20)


def test_a_client_that_asks_for_openmetrics_gets_it() -> None:
    _, fields, body = get(
        metrics_site(Source()), "/metrics", "Accept: application/openmetrics-text; version=1.0.0"
    )
    assert fields["content-type"].startswith("application/openmetrics-text")
    assert body.rstrip().endswith("# EOF")


def test_the_status_is_json() -> None:
    status, fields, body = get(status_site(Source()), "/status.json")
    assert (status, fields["content-type"]) == (200, "application/json")
    assert service_from_values(json.loads(body)) == SERVICE


def test_the_page_is_html_with_a_policy_of_its_own() -> None:
    status, fields, body = get(status_site(Source(), clock=lambda: NOW), "/")
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert fields["content-security-policy"] == POLICY.lower()
    assert body == render(SERVICE, NOW)


def test_the_shadow_report_is_on_the_page_and_in_the_json() -> None:
    shadow = ShadowReport(clients=[CLIENT], summary=[SUMMARY])
    site = status_site(Source(), report=lambda: shadow, clock=lambda: NOW)
    assert get(site, "/")[2] == render(SERVICE, NOW, shadow)
    assert json.loads(get(site, "/status.json")[2])["report"] == {"clients": [CLIENT], "summary": [SUMMARY]}


def test_whoever_is_alive_says_so_without_asking_anybody() -> None:
    source = Source()
    source.processes = lambda: pytest.fail("asked")  # type: ignore[method-assign]
    assert get(status_site(source), "/healthz")[0::2] == (200, "ok\n")


@pytest.mark.parametrize(
    ("state", "path", "expected"),
    [
        (ServiceState.RUNNING, "/readyz", (200, "ok\n")),
        (ServiceState.DRAINING, "/readyz", (503, "503: draining\n")),
        (ServiceState.RUNNING, "/readyz?backend=old-mta", (200, "ok\n")),
        (ServiceState.RUNNING, "/readyz?backend=%ff", (503, "503: there is no backend \\xff\n")),
    ],
)
def test_readiness_is_a_status(state: ServiceState, path: str, expected: tuple[int, str]) -> None:
    assert get(status_site(Source(evolve(SERVICE, state=state))), path)[0::2] == expected


@each_site
def test_head_is_get_without_a_body(site: SiteMaker, path: str) -> None:
    got = get(site(Source()), path)
    status, fields, body = Connection(site(Source())).send(f"HEAD {path}").answer()
    assert (status, fields["content-length"], body) == (200, got[1]["content-length"], "")


@each_site
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(site: SiteMaker, path: str, method: str) -> None:
    status, fields, _ = Connection(site(Source())).send(f"{method} {path}").answer()
    assert (status, fields["allow"]) == (405, "get, head")


@pytest.mark.parametrize("path", ["/metrics/", "/metricsx", "/../metrics", "/status.json"])
def test_nothing_else_is_served(path: str) -> None:
    status, _, body = get(metrics_site(Source()), path)
    assert (status, body) == (404, "404: see /metrics\n")


@each_site
def test_no_answer_is_kept_framed_or_taken_for_something_else(site: SiteMaker, path: str) -> None:
    for asked in (path, "/nothing"):
        fields = get(site(Source()), asked)[1]
        assert fields["cache-control"] == "no-store"
        assert fields["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in fields["content-security-policy"]


@pytest.mark.parametrize("host", ["127.0.0.1:9466", "[::1]:9466", "localhost:9466", "LOCALHOST", "192.0.2.1"])
def test_loopback_answers_who_names_this_machine(host: str) -> None:
    assert get(status_site(Source()), "/healthz", host=host)[0] == 200


def test_a_machine_that_takes_its_own_name_for_loopback_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "gethostname", lambda: "Mail.example.org")
    for host in ("mail.example.org:9466", "mail"):
        assert get(status_site(Source()), "/healthz", host=host)[0] == 200
    assert get(status_site(Source()), "/healthz", host="example.org")[0] == 421


@pytest.mark.parametrize("host", ["attacker.example:9466", "localhost.attacker.example", ""])
def test_loopback_answers_no_page_that_was_made_to_point_here(host: str) -> None:
    """DNS rebinding: a browser takes the answer for the attacker's own, and lets its page read it."""
    assert get(status_site(Source()), "/healthz", host=host)[0] == 421


@pytest.mark.parametrize("own", ["127.0.1.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_has_many_addresses(own: str) -> None:
    connection = Connection(status_site(Source()), IPv6Address("TCP", own, 80))
    assert connection.send("GET /healthz", host="attacker.example").answer()[0] == 421


@pytest.mark.parametrize("own", [IPv4Address("TCP", "192.0.2.7", 80), IPv6Address("TCP", "2001:db8::7", 80)])
def test_elsewhere_any_name_will_do(own: object) -> None:
    connection = Connection(status_site(Source()), own).send("GET /healthz", host="tlsproxy.example.org")
    assert connection.answer()[0] == 200


def test_a_client_that_does_not_wait_is_forgotten() -> None:
    source = Source()
    asked: Deferred[list[ProcessStatus]] = Deferred()
    source.processes = lambda: asked  # type: ignore[method-assign]
    connection = Connection(status_site(source)).send("GET /status.json")
    connection.close()
    assert asked.called
    assert connection.transport.value() == b""


def test_a_status_that_cannot_be_had_is_an_error_and_goes_to_the_log() -> None:
    def fail() -> Deferred[list[ProcessStatus]]:
        raise RuntimeError("no answer")

    source = Source()
    source.processes = fail  # type: ignore[method-assign]
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        status, _, body = get(status_site(source), "/status.json")
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert (status, body) == (500, "500: see the log\n")
    assert ["no answer" in str(event["log_failure"].value) for event in events if "log_failure" in event] == [
        True
    ]


def test_requests_are_not_logged() -> None:
    lines: list[str] = []
    site = metrics_site(Source())
    site._logFile = type("File", (), {"write": lines.append})
    get(site, "/metrics")
    assert lines == []
