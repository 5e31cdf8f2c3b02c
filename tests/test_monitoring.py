"""The dashboard and the alerts name metrics and labels that exist."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tlsproxy.ops.merge import families_of
from tlsproxy.ops.metrics import Metrics
from tlsproxy.ops.service_figures import DECLARED

ROOT = Path(__file__).parents[1]
DASHBOARD = json.loads((ROOT / "etc/grafana/tlsproxy.json").read_text())
RULES = (ROOT / "etc/prometheus/tlsproxy.rules.yml").read_text()
RULE_TESTS = (ROOT / "etc/prometheus/tlsproxy.rules.test.yml").read_text()

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""

_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}

_SELECTOR = re.compile(r"\b((?:tlsproxy|process)_[a-z_]+)\b(?:\{([^}]*)\})?")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on) \(([a-z_, ]*)\)")


def series() -> dict[str, set[str]]:
    """The labels of each series that can be asked for."""
    found = {}
    for metric in runpy.run_path(str(ROOT / "docs/generate.py"))["declared_metrics"]():
        [family] = metric.describe()
        labels = {*metric._labelnames, *({"le"} if family.type == "histogram" else ())}
        found |= {family.name + suffix: labels for suffix in _SUFFIXES[family.type]}
    for each in DECLARED:
        found[str(each)] = set()
    for family in families_of(Metrics().registry):
        if family.name.startswith("process_"):
            found[str(family)] = set()
    return found


SERIES = series()


def expressions(value: Any) -> Iterator[str]:
    """Every expression of a dashboard."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("expr", "query", "definition") and isinstance(each, str):
                yield each
            else:
                yield from expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from expressions(each)


def unknown(expression: str) -> list[str]:
    """What ``expression`` names that isn't there."""
    found = []
    known = set(SCRAPED)
    for name, selector in _SELECTOR.findall(expression):
        if name not in SERIES:
            found.append(name)
            continue
        known |= SERIES[name]
        found += [
            f"{name}{{{label}}}" for label in _LABEL.findall(selector) if label not in SERIES[name] | SCRAPED
        ]
    for labels in _GROUPING.findall(expression):
        found += [label for label in labels.replace(" ", "").split(",") if label and label not in known]
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('sum by (listen) (tlsproxy_sessions{job=~"x"})', []),
        ("sum by (reason) (tlsproxy_sessions)", ["reason"]),
        ('tlsproxy_sessions{reason="x"}', ["tlsproxy_sessions{reason}"]),
        ("tlsproxy_sessions_total", ["tlsproxy_sessions_total"]),
        ("tlsproxy_session_duration_seconds", ["tlsproxy_session_duration_seconds"]),
    ],
)
def test_what_does_not_exist_is_noticed(expression: str, expected: list[str]) -> None:
    assert unknown(expression) == expected


def test_the_dashboard_asks_for_what_there_is() -> None:
    asked = list(expressions(DASHBOARD))
    assert len([each for each in asked if "tlsproxy_" in each]) > 40
    assert {each: unknown(each) for each in asked if unknown(each)} == {}


def test_the_alerts_ask_for_what_there_is() -> None:
    asked = re.findall(r"^ +expr: (?:\|\n)?((?:.|\n(?= {8,}[^ ]))*)", RULES, re.MULTILINE)
    assert len(asked) == RULES.count("- alert: ")
    assert {each: unknown(each) for each in asked if unknown(each)} == {}


def test_every_alert_is_seen_to_fire() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES)
    assert len(set(alerts)) == len(alerts)
    assert [each for each in alerts if f'"{each}"' not in RULE_TESTS and f" {each}\n" not in RULE_TESTS] == []


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    """But for those that are looked at when something is wrong already."""
    asked = {name for each in expressions(DASHBOARD) for name, _ in _SELECTOR.findall(each)}
    looked_up = {
        "tlsproxy_configuration_warnings_total",
        "tlsproxy_control_refused_total",
        "tlsproxy_descriptor_shortages_total",
        "tlsproxy_draining",
        "tlsproxy_last_reload_duration_seconds",
        "tlsproxy_last_reload_timestamp_seconds",
    }
    ours = {name for name in SERIES if name.startswith("tlsproxy_") and not name.endswith(("_sum", "_count"))}
    assert ours - asked - looked_up == set()


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = DASHBOARD["panels"]
    return found


def test_panels_have_numbers_of_their_own_and_lie_side_by_side() -> None:
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_data_source_is_the_reader_s_choice() -> None:
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    assert {json.dumps(panel["datasource"]) for panel in panels() if "datasource" in panel} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }
