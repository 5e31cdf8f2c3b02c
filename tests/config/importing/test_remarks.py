"""Remarks about a translation."""

from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.importing.remarks import Imported, each_once, lost, note, printable


def test_a_remark_names_the_setting_its_place_and_the_matter() -> None:
    remark = lost("smtpd_tls_x = y", "main.cf line 3", "has no counterpart")
    assert remark.comment == "not carried over: smtpd_tls_x = y (main.cf line 3): has no counterpart"


def test_a_remark_about_nothing_in_particular_is_its_message() -> None:
    assert note("", "", "there is no master.cf").comment == "note: there is no master.cf"


def test_a_long_setting_is_cut() -> None:
    assert len(lost("x" * 500, "", "is long").setting) == 80


@given(st.text())
def test_a_remark_is_on_one_line_whatever_it_quotes(text: str) -> None:
    assert printable(text).isprintable()
    assert lost(text, text, text).comment.isprintable()


def test_the_same_about_the_same_setting_is_said_once() -> None:
    remarks = [lost("a = b", "smtp", "x"), lost("a = b", "submission", "x"), note("a = b", "smtp", "x")]
    assert [(remark.severity, remark.where) for remark in each_once(remarks)] == [
        (remarks[0].severity, "submission"),
        (remarks[2].severity, "smtp"),
    ]


def test_a_translation_is_complete_when_nothing_is_lost() -> None:
    assert Imported("", (note("a", "", "b"),)).complete
    assert not Imported("", (note("a", "", "b"), lost("a", "", "b"))).complete
