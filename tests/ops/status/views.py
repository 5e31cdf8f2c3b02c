"""Views of statuses, for tests of what is drawn of them."""

import re
from typing import Any

from attrs import evolve

from tests.ops.status.samples import DAY, LISTEN, NOW, PROCESS, SERVICE
from tlsproxy import notes
from tlsproxy.ops.merge import families_of
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.status.model import ServiceStatus, ShadowReport
from tlsproxy.ops.status.parts import View


def view(status: ServiceStatus = SERVICE, report: ShadowReport | None = None) -> View:
    return View(status, NOW, report)


def with_process(**changes: Any) -> View:
    return view(evolve(SERVICE, processes=(evolve(PROCESS, **changes),)))


def counted(*happened: notes.Note) -> View:
    metrics = Metrics()
    for note in happened:
        metrics.take(note)
    return with_process(families=families_of(metrics.registry))


def words(markup: str | None) -> str:
    """The text, as read."""
    assert markup is not None
    return " ".join(re.sub(r"<[^>]*>", " ", markup).split())


CLIENT = {
    "listen": LISTEN,
    "candidate": "TLSv1.2 TLSv1.3",
    "network": "10.3.7.0/24",
    "version": "TLSv1",
    "helo": "copier.example",
    "server_name": None,
    "offered": "TLSv1",
    "cipher": "AES128-SHA",
    "sessions": 12,
    "first_seen": NOW - DAY,
    "last_seen": NOW,
}
SUMMARY = {"listen": LISTEN, "candidate": "TLSv1.2 TLSv1.3", "sessions": 100, "refused": 12, "networks": 1}
