"""Figures are found by name and labels, added up, and ranked."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tlsproxy.ops.merge import families_of
from tlsproxy.ops.status.figures import Figures, process_figure


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("tlsproxy_handshakes", "", ["listen", "version"], registry=registry)
    for listen, version, value in (("a", "1.2", 3), ("a", "1.3", 5), ("b", "1.3", 1), ("b", "1.1", 0)):
        counter.labels(listen, version).inc(value)
    histogram = Histogram("tlsproxy_connect", "", ["server"], buckets=(0.1, 1.0), registry=registry)
    for value in (0.05, 0.05, 0.5, 7.0):
        histogram.labels("s").observe(value)
    Gauge("process_open_fds", "", registry=registry).set(9)
    return registry


@pytest.fixture
def figures(registry: CollectorRegistry) -> Figures:
    return Figures(families_of(registry))


def test_series_add_up_that_have_the_labels(figures: Figures) -> None:
    assert figures.sum("handshakes_total") == 9
    assert figures.sum("handshakes_total", listen="a") == 8
    assert figures.sum("handshakes_total", listen="a", version="1.3") == 5
    assert figures.sum("nothing_total") == 0


def test_they_are_told_by_label_greatest_first_without_zeros(figures: Figures) -> None:
    assert list(figures.by("handshakes_total", "version").items()) == [("1.3", 6), ("1.2", 3)]
    assert figures.by("handshakes_total", "version", listen="b") == {"1.3": 1}


@pytest.mark.parametrize(("share", "bound"), [(0.5, 0.1), (0.75, 1.0), (0.95, 1.0)])
def test_a_quantile_is_the_bound_below_which_that_share_lies(
    figures: Figures, share: float, bound: float
) -> None:
    assert figures.quantile("connect", share, server="s") == bound


def test_of_nothing_there_is_no_quantile(figures: Figures) -> None:
    assert figures.quantile("connect", 0.5, server="other") is None


def test_a_figure_of_the_process(registry: CollectorRegistry) -> None:
    assert process_figure(families_of(registry), "process_open_fds") == 9
    assert process_figure(families_of(registry), "process_max_fds") is None
