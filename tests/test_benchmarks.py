"""The benchmarks run and measure what they say, and docs/performance.md has what was published. Nothing is timed here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks import profiled
from benchmarks.__main__ import _merged, _written
from benchmarks.cases import CASES
from benchmarks.document import CHARTS, DOCUMENT, PUBLISHED, charts, filled
from benchmarks.footprint import Memory
from benchmarks.machine import cpu_seconds, rss_kib, tree
from benchmarks.plots import Group, Line, bars, lines
from benchmarks.programs import MeasurementError, Programs
from benchmarks.report import Figures, best, ratio, targets
from tests.support.programs import unavailable

ROOT = Path(__file__).parents[1]

SMALLEST = (
    *("handshake-ecdsa-1", "resume-1.3", "resume-1.2", "bulk-up-1", "bulk-down-16", "roundtrip-64"),
    *("smtp-1", "smtps-20", "https-64", "https-new-32"),
)
"""Cases that have every mode of the client and of the backend in them."""


def sample(cpu_us: float, errors: int = 0, **more: float) -> dict[str, Any]:
    rest = {"rate": 10.0, "p50_us": 5.0, "p99_us": 9.0, "proxy_busy": 1.0, "client_busy": 0.5}
    return {"cpu_us": cpu_us, "errors": errors, **rest, **more}


def results(**peers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"peers": {}, "cases": {"handshake-ecdsa-32": peers}}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The smallest run: a case of each protocol, tlsproxy alone."""
    directory = tmp_path_factory.mktemp("benchmarks")
    try:
        Programs.compile(directory)
    except MeasurementError as error:
        unavailable(str(error))
    output = directory / "results.json"
    options = {
        "--peers": "tlsproxy",
        "--only": "handshake,resume,bulk,roundtrip,smtp,https,memory,start",
        "--cases": ",".join(SMALLEST),
        "--output": output,
    }
    words = [word for pair in options.items() for word in pair]
    subprocess.run([sys.executable, "-m", "benchmarks", "--quick", *words], cwd=ROOT, check=True, timeout=100)
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.mark.interop
def test_every_kind_of_work_is_done_without_an_error(measured: dict[str, Any]) -> None:
    assert set(measured["cases"]) == set(SMALLEST)
    for case, peers in measured["cases"].items():
        [taken] = peers["tlsproxy"]
        assert taken["errors"] == 0, (case, taken["first_error"])
        assert taken["units"] > 0
        assert taken["cpu_us"] > 0


@pytest.mark.interop
def test_resumed_handshakes_are_resumed(measured: dict[str, Any]) -> None:
    for case in ("resume-1.3", "resume-1.2"):
        [taken] = measured["cases"][case]["tlsproxy"]
        assert taken["resumed"] == taken["units"]


@pytest.mark.interop
def test_memory_and_start_are_measured(measured: dict[str, Any]) -> None:
    assert measured["memory"]["100"]["tlsproxy"][0]["kib"] is not None
    assert measured["start"]["tlsproxy"][0]["seconds"] is not None


@pytest.mark.interop
def test_a_client_that_gets_other_content_counts_an_error(tmp_path: Path) -> None:
    """Against the backend's SMTP port without TLS, nothing comes that a handshake would begin with."""
    try:
        programs = Programs.compile(tmp_path)
    except MeasurementError as error:
        unavailable(str(error))
    with subprocess.Popen(
        [programs.backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as backend:
        assert backend.stdout is not None
        port = json.loads(backend.stdout.readline())["smtp"]
        load = subprocess.run(
            [programs.load, "handshake", "--port", str(port), "--count", "1"],
            input="go\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        backend.communicate()
    result = json.loads(load.stdout.splitlines()[1])
    assert result["errors"] > 0
    assert result["units"] == 0


@pytest.mark.interop
def test_a_case_can_be_profiled(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        Programs.compile(tmp_path)
    except MeasurementError as error:
        unavailable(str(error))
    assert profiled.main(["roundtrip-1", "--seconds", "0.1", "--functions", "1000"]) == 0
    printed = capfd.readouterr().out
    assert ", 0 errors" in printed
    assert "tlsproxy/tls/engine.py" in printed


def test_a_round_with_an_error_leaves_no_figure() -> None:
    assert Figures.of([sample(100), sample(100, errors=1)]) is None
    assert Figures.of([]) is None


def test_figures_are_medians() -> None:
    found = Figures.of([sample(cost) for cost in (90, 300, 100, 110, 95)])
    assert found is not None
    assert found.cpu == 100
    assert found.spread == pytest.approx(0.075)


def test_ratios_are_of_paired_rounds() -> None:
    """A machine that is slow for one round is slow for both."""
    taken = results(
        tlsproxy=[sample(100), sample(500), sample(100)], nginx=[sample(200), sample(1000), sample(100)]
    )
    assert ratio(taken, "handshake-ecdsa-32", "nginx") == 0.5
    assert ratio(taken, "handshake-ecdsa-32", "hitch") is None


def test_the_best_is_one_of_three() -> None:
    taken = results(
        nginx=[sample(200)], hitch=[sample(150)], stunnel=[sample(10)], HAProxy=[sample(1, errors=1)]
    )
    assert best(taken, "handshake-ecdsa-32") == "hitch"


@pytest.mark.parametrize(("cost", "met"), [(99, True), (101, False)])
def test_a_target_is_met_or_not(cost: float, met: bool) -> None:
    taken = results(tlsproxy=[sample(cost)], nginx=[sample(100)])
    [target, _] = targets(taken)
    assert target.met is met
    assert target.wanted == "at most 1 of nginx"


def test_results_are_written_as_they_were_measured() -> None:
    taken = results(tlsproxy=[sample(100.0), sample(1234.567)], nginx=[])
    written = json.loads(_written({**taken, "machine": {"cores": "2"}, "rounds": 2}))
    assert written["cases"]["handshake-ecdsa-32"]["tlsproxy"] == [sample(100.0), sample(1234.6)]
    assert written["rounds"] == 2


def test_results_may_be_added_to_earlier_ones() -> None:
    before = {"cases": {"a": {}, "b": {}}, "peers": {"nginx": {}}, "memory": {}, "rounds": 3}
    after = {"cases": {"b": {"tlsproxy": []}}, "peers": {"tlsproxy": {}}, "growth": {}, "rounds": 5}
    together = _merged(before, after)
    assert together["cases"] == {"a": {}, "b": {"tlsproxy": []}}
    assert together.keys() == {"cases", "peers", "memory", "growth", "rounds"}
    assert together["rounds"] == 5


def test_descendants_are_found_and_their_cpu_time_is_counted() -> None:
    """A shell's child, and a grandchild; what an ended one took is its parent's."""
    script = "(while [ $((n += 1)) -lt 30000 ]; do :; done); sleep 60 & echo started; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "started\n"
        members = tree([shell.pid])
        assert len(members) == 2
        assert cpu_seconds(members) > cpu_seconds(members[1:]) > 0
        assert rss_kib(members) > rss_kib(members[1:]) > 0
        for pid in members:
            os.kill(pid, signal.SIGKILL)


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_charts_are_pictures() -> None:
    bar = bars(
        "Title",
        "note <&>",
        [Group("a", {"tlsproxy": 1.0, "nginx": None}), Group("b", {"nginx": None})],
        "tlsproxy",
    )
    line = lines("Title", "note", {"a": [Line("tlsproxy", [(10, 1.0), (100, 2.0)])], "b": []}, "tlsproxy")
    for picture in (bar, line):
        assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - written here
    assert "note &lt;&amp;&gt;" in bar
    assert bar.count("<rect") == 2


def test_the_document_has_the_published_figures() -> None:
    """``python -m benchmarks.document`` writes them."""
    published = json.loads(PUBLISHED.read_text())
    assert filled(DOCUMENT.read_text(), published) == DOCUMENT.read_text()
    for name, content in charts(published).items():
        assert (CHARTS / name).read_text() == content


def test_a_compiler_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MeasurementError, match="apt-get install gcc"):
        Programs.compile(tmp_path)


def test_what_a_process_shares_counts_in_part_or_not_at_all() -> None:
    memory = Memory.of(os.getpid())
    assert memory.rss > memory.pss > memory.uss > 0
    assert memory.mappings.total() == memory.rss
