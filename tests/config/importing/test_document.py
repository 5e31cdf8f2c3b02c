"""TOML with comments."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.importing.document import WIDTH, Entry, Table, header


def test_values_come_first_and_tables_below_are_indented() -> None:
    listen = Table(header("esmtp_listener", "listen", array=True), entries=[Entry("address", "[::]:25")])
    listener = Table(
        header("esmtp_listener", array=True),
        comments=["port 25"],
        entries=[Entry("backend", "mta", ("why",))],
        remarks=["what isn't there"],
        tables=[listen],
    )
    assert Table(entries=[Entry("tls_allow_renegotiation", False)], tables=[listener]).render() == (
        "tls_allow_renegotiation = false\n"
        "\n"
        "# port 25\n"
        "[[esmtp_listener]]\n"
        "# why\n"
        'backend = "mta"\n'
        "# what isn't there\n"
        "\n"
        "  [[esmtp_listener.listen]]\n"
        '  address = "[::]:25"\n'
    )


def test_what_stands_nowhere_yet_is_said_at_the_top() -> None:
    below = Table("[a]", comments=["one"], entries=[Entry("b", 1, ("two",))], remarks=["three"])
    table = Table(tables=[below])
    table.say_the_rest(["one", "two", "three", "four", "four"])
    assert table.comments == ["four"]


def test_names_that_need_quotes_get_them() -> None:
    assert header("pathway", "the copiers") == '[pathway."the copiers"]'


def test_long_comments_are_wrapped_and_samples_are_not() -> None:
    text = Table(comments=["word " * 60, "  sample " * 30]).render()
    *wrapped, sample = text.splitlines()
    assert len(wrapped) > 1
    assert all(line.startswith("# ") and len(line) <= WIDTH for line in wrapped)
    assert len(sample) > WIDTH


VALUES = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.text(), st.lists(st.text(), max_size=3))


@given(st.text(min_size=1), VALUES, st.text(), st.text())
def test_whatever_is_written_can_be_read_again(key: str, value: Any, comment: str, name: str) -> None:
    table = Table(
        header("pathway", name),
        comments=[comment],
        entries=[Entry(key, value, (comment,))],
        remarks=[comment],
    )
    text = Table(comments=[comment], tables=[table]).render()
    assert tomllib.loads(text) == {"pathway": {name: {key: value}}}
