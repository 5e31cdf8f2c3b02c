"""The report in a few figures."""

from tests.ops.report.samples import CANDIDATE, LISTEN, count
from tlsproxy.ops.report.summary import Summary, summaries


def test_each_candidate_of_each_listen_has_one_summary() -> None:
    counts = [
        count(version="TLSv1.3", sessions=90, refused=0, day=11),
        count(version="TLSv1.1", sessions=3, refused=3, day=12),
        count(version="TLSv1", sessions=7, refused=6, day=10),
        count(listen="0.0.0.0:465", sessions=1, refused=0, day=12),
        count(candidate="TLSv1.3", sessions=4, refused=4, day=12),
    ]
    found = summaries(counts, {(LISTEN, CANDIDATE): 2, (LISTEN, "TLSv1.3"): 1})
    assert found == [
        Summary(
            listen=LISTEN,
            candidate=CANDIDATE,
            sessions=100,
            refused=9,
            refused_versions={"TLSv1": 6, "TLSv1.1": 3},
            networks=2,
            first_day=10,
        ),
        Summary(
            listen=LISTEN,
            candidate="TLSv1.3",
            sessions=4,
            refused=4,
            refused_versions={"TLSv1": 4},
            networks=1,
            first_day=12,
        ),
        Summary(
            listen="0.0.0.0:465",
            candidate=CANDIDATE,
            sessions=1,
            refused=0,
            refused_versions={},
            networks=0,
            first_day=12,
        ),
    ]
    assert [each.share for each in found] == [0.09, 1.0, 0.0]


def test_nothing_looked_at_is_no_summary() -> None:
    assert summaries([], {}) == []
