"""What one process noticed, added up in a bounded memory."""

import pytest

from tests.ops.notes import NOTE_KINDS, sample
from tests.ops.report.samples import CANDIDATE, LISTEN, NOW, count, established, refused, row
from tlsproxy.notes import Note, TlsEstablished, WouldBeRefused
from tlsproxy.ops.report import buffer as buffer_module
from tlsproxy.ops.report.buffer import ReportBuffer
from tlsproxy.ops.report.entries import OTHER, to_values


def heard(*notes: Note) -> ReportBuffer:
    buffer = ReportBuffer(lambda: NOW)
    for note in notes:
        buffer(note)
    return buffer


def test_a_session_that_would_be_refused_is_a_row_with_all_that_is_known() -> None:
    assert heard(refused(server_name="mx.example.org")).take() == [
        to_values(row(server_name="mx.example.org"))
    ]


def test_clients_that_can_t_be_told_apart_are_one_row() -> None:
    taken = heard(refused(), refused(cipher="AES256-SHA"), refused(helo="fax")).take()
    assert taken == [to_values(row(sessions=2, cipher="AES256-SHA")), to_values(row(helo="fax"))]


def test_every_session_with_a_candidate_is_counted_by_version_and_day() -> None:
    taken = heard(
        established("TLSv1.3"), established("TLSv1.3"), established("TLSv1", would_be_refused=True)
    ).take()
    assert taken == [
        to_values(count(version="TLSv1.3", sessions=2, refused=0)),
        to_values(count(version="TLSv1", sessions=1, refused=1)),
    ]


def test_a_session_without_a_candidate_is_none_of_the_report_s() -> None:
    assert heard(established(candidate=None, would_be_refused=None)).take() == []


@pytest.mark.parametrize(
    "kind", [kind for kind in NOTE_KINDS if kind not in (TlsEstablished, WouldBeRefused)]
)
def test_no_other_note_is(kind: type[Note]) -> None:
    assert heard(sample(kind)).take() == []


def test_what_was_taken_is_gone() -> None:
    buffer = heard(refused(), established())
    assert len(buffer.take()) == 2
    assert buffer.take() == []


def test_names_are_made_harmless() -> None:
    [taken] = heard(refused(helo="\x1b]0;title\x07", server_name="mx\0")).take()
    assert (taken["helo"], taken["server_name"]) == ("\\x1b]0;title\\x07", "mx\\x00")


def test_what_another_process_took_adds_up() -> None:
    buffer = heard(refused(), established("TLSv1", would_be_refused=True))
    buffer.merge(heard(refused(), refused(), established("TLSv1", would_be_refused=True)).take())
    assert buffer.take() == [to_values(row(sessions=3)), to_values(count(sessions=2, refused=2))]


def test_what_there_is_no_room_for_is_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_module, "MAX_ROWS", 2)
    taken = heard(*(refused(helo=f"made-up-{number}") for number in range(10))).take()
    assert [(each["network"], each["helo"], each["sessions"]) for each in taken] == [
        ("10.3.7.0/24", "made-up-0", 1),
        ("10.3.7.0/24", "made-up-1", 1),
        (OTHER, None, 8),
    ]


def test_a_known_client_is_told_apart_in_a_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_module, "MAX_ROWS", 1)
    [known, other] = heard(refused(), refused(helo="fax"), refused()).take()
    assert (known["sessions"], other["sessions"]) == (2, 1)


def test_counts_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_module, "MAX_COUNTS", 2)
    taken = heard(*(established(listen=f"127.0.0.1:{port}") for port in (1, 2, 3, 1))).take()
    assert [(each["listen"], each["sessions"]) for each in taken] == [("127.0.0.1:1", 2), ("127.0.0.1:2", 1)]


def test_listens_and_candidates_are_kept_apart() -> None:
    taken = heard(refused(), refused(listen="0.0.0.0:465"), refused(candidate="TLSv1.3")).take()
    assert [(each["listen"], each["candidate"]) for each in taken] == [
        (LISTEN, CANDIDATE),
        ("0.0.0.0:465", CANDIDATE),
        (LISTEN, "TLSv1.3"),
    ]
