"""Figures and times as people read them."""

import pytest

from tests.ops.status.samples import NOW
from tlsproxy.ops.status import words


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (1234567.0, "1,234,567"), (2.6, "3")])
def test_counts(value: float, shown: str) -> None:
    assert words.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 * 2**20, "200 MiB"), (5 * 2**50, "5120 TiB")],
)
def test_sizes(value: float, shown: str) -> None:
    assert words.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3600, "1 h 0 min"),
        (90000, "1 d 1 h"),
        (100 * 86400, "100 d 0 h"),
    ],
)
def test_spans(seconds: float, shown: str) -> None:
    assert words.span(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, words.NOTHING), (0.0025, "≤ 2.5 ms"), (0.1, "≤ 100 ms"), (2.5, "≤ 2.5 s")],
)
def test_latencies(seconds: float | None, shown: str) -> None:
    assert words.latency(seconds) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 0, "0 %"),
        (0, 5, "0 %"),
        (1, 1000, "< 1 %"),
        (62, 100, "62 %"),
        (999, 1000, "> 99 %"),
        (5, 5, "100 %"),
    ],
)
def test_shares_round_nothing_away(part: float, whole: float, shown: str) -> None:
    assert words.share(part, whole) == shown


def test_one_is_not_many() -> None:
    assert [words.plural(number, "day") for number in (0, 1, 2)] == ["0 days", "1 day", "2 days"]
    assert words.plural(2, "process", "processes") == "2 processes"


@pytest.mark.parametrize(
    ("word", "shown"),
    [("starttls_injection", "STARTTLS injection"), ("client_closed", "client closed"), ("SIGHUP", "SIGHUP")],
)
def test_words_of_the_log(word: str, shown: str) -> None:
    assert words.phrase(word) == shown


def test_times_are_utc() -> None:
    assert words.moment(NOW) == "2026-11-23 08:00:00 UTC"
    assert words.day(NOW) == "2026-11-23"
    assert words.machine_time(NOW) == "2026-11-23T08:00:00Z"
