"""Whom a stricter policy would break, the last reload and the processes."""

import re
from typing import Any

import pytest
from attrs import evolve

from tests.ops.status.samples import LISTEN, NOW, PROCESS, SERVICE
from tests.ops.status.views import CLIENT, SUMMARY, view, with_process, words
from tlsproxy.ops.merge import families_of
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.status import upkeep
from tlsproxy.ops.status.model import (
    ReloadProblem,
    ReloadStatus,
    ShadowReport,
)


def test_the_shadow_report_tells_who_would_break() -> None:
    shown = words(upkeep.shadow(view(report=ShadowReport(clients=[CLIENT], summary=[SUMMARY]))))
    assert "would be refused 12 % 12" in shown
    assert "From 1 network." in shown
    assert f"10.3.7.0/24 copier.example TLSv1 AES128-SHA {LISTEN} 12 2026-11-23 08:00:00 UTC" in shown


def test_a_client_without_a_name_has_none() -> None:
    nameless = ShadowReport(clients=[{**CLIENT, "helo": None}] * 25)
    shown = words(upkeep.shadow(view(report=nameless)))
    assert "10.3.7.0/24 nothing TLSv1" in shown
    assert "5 more clients: see tlsproxy report" in shown


@pytest.mark.parametrize("report", [None, ShadowReport()])
def test_without_candidates_there_is_no_shadow_report(report: ShadowReport | None) -> None:
    assert upkeep.shadow(view(report=report)) is None


def test_the_last_reload_tells_why_it_was_refused() -> None:
    shown = words(upkeep.service(view()))
    assert "Last reload refused 2026-11-23 07:50:00 UTC (10 min ago), by signal, in 0.25 s." in shown
    assert "tls_protocols unknown" in shown


def test_problems_without_end_are_cut_short() -> None:
    problems = tuple(ReloadProblem("", f"wrong {number}") for number in range(25))
    refused = ReloadStatus(when=NOW, trigger="SIGHUP", ok=False, problems=problems)
    made = upkeep.service(view(evolve(SERVICE, last_reload=refused)))
    assert made.count("<li>") == 21
    assert "and 5 more" in words(made)


def test_a_candidate_that_would_refuse_nobody_has_no_clients() -> None:
    report = ShadowReport(summary=[{**SUMMARY, "refused": 0}])
    made = upkeep.shadow(view(report=report))
    assert "would go on 100 % 100" in words(made)
    assert "<table" not in (made or "")


def test_a_reload_that_went_well_and_none_at_all() -> None:
    done = ReloadStatus(when=NOW - 5, trigger="certificate", ok=True, duration=0.1)
    assert "Last reload carried out" in words(upkeep.service(view(evolve(SERVICE, last_reload=done))))
    assert "No reload since the start." in words(upkeep.service(view(evolve(SERVICE, last_reload=None))))


def test_processes_of_an_older_generation_drain() -> None:
    status = evolve(SERVICE, processes=(PROCESS, evolve(PROCESS, pid=4712, worker=1, generation=2)))
    shown = words(upkeep.service(view(status)))
    assert "Generation 2, 1 process draining" in shown
    assert "4711 0 1 draining 3" in shown
    assert "4712 1 2 serving 3" in shown


def test_a_process_tells_memory_and_time() -> None:
    metrics = Metrics()
    shown = words(upkeep.service(with_process(families=families_of(metrics.registry))))
    assert re.search(r"serving 3 [\d.]+ MiB \d+ s", shown)


@pytest.mark.parametrize(
    ("section", "message"),
    [(upkeep.service, "No process answers.")],
)
def test_a_service_with_nothing_says_so(section: Any, message: str) -> None:
    assert message in words(section(view(evolve(SERVICE, processes=()))))
