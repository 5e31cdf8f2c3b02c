"""$name in Postfix's values."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.importing.postfix_expand import MAX_LENGTH, ExpansionError, expand

VALUES = {
    "x": "X",
    "y": "<$x>",
    "empty": "",
    "reference": "$empty",
    "level": "3.6",
    "loop": "a$loop",
    "two": "$one$one",
    "one": "$two",
    "long": "z" * 40_000,
}

TABLE = [
    ("plain", "plain"),
    ("$x", "X"),
    ("${x}", "X"),
    ("$(x)", "X"),
    ("$x.$y", "X.<X>"),
    ("a$$x", "a$x"),
    ("${x?yes}", "yes"),
    ("${x:no}", ""),
    ("${empty?yes}", ""),
    ("${empty:no}", "no"),
    ("${nothing:no}", "no"),
    ("${nothing?yes}", ""),
    ("${reference?yes}", "yes"),
    ("${x?{yes}:{no}}", "yes"),
    ("${empty?{yes}:{no}}", "no"),
    ("${empty ?{yes}:{no}}", "no"),
    ("${empty? {yes} : {no} }", "no"),
    ("${x?a:b}", "a:b"),
    ("${x?{$y}}", "<X>"),
    ("${x?${empty:$y}}", "<X>"),
    ("${{$x} == {X} ? {same} : {other}}", "same"),
    ("${{$x}!={X}?{other}:{same}}", "same"),
    ("${{10} > {9} ? {number} : {text}}", "number"),
    ("${{10} > {9a} ? {number} : {text}}", "text"),
    ("${{$level} <level {2} ? {old} : {new}}", "new"),
    ("${{$level} >=level {3.6.0} ? {new} : {old}}", "new"),
    ("${{3.10} >level {3.9} ? {new} : {old}}", "new"),
    ("${{a} == {a}}", "true"),
    ("${{a} == {b}}", ""),
    ("${{a} == {b}:no}", "no"),
]


def expanded(text: str) -> str | None:
    try:
        return expand(text, VALUES.get)[0]
    except ExpansionError:
        return None


@pytest.mark.parametrize(("text", "value"), TABLE)
def test_a_value_is_expanded_as_postconf_says(text: str, value: str | None) -> None:
    assert expanded(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a $", "a $ without a name"),
        ("$/", "a $ without a name"),
        ("${}", "a $ without a name"),
        ("${x", "has ${ without }"),
        ("$(x", "has $( without )"),
        ("${x-y}", "where the name of a parameter belongs"),
        ("${x?{a}b}", "where : belongs"),
        ("${x?{a}:{b}c}", "behind its end"),
        ("${{a} ~ {b} ? {c}}", "where a comparison such as == belongs"),
        ("${{a} == b}", "where {text} belongs"),
        ("${{a} == {b} c}", "where ? or : belongs"),
        ("${{a} <level {b}}", "where a compatibility level belongs"),
        ("${{a == b}", "has ${ without }"),
        ("$loop", "refers to itself"),
        ("$two", "refers to itself"),
        ("$long$long", f"longer than {MAX_LENGTH} characters"),
    ],
)
def test_what_postfix_cannot_expand_is_an_error(text: str, why: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(text, VALUES.get)
    assert why in str(caught.value)


def test_names_without_a_value_are_told() -> None:
    assert expand("$nothing ${x} ${other?a}", VALUES.get) == (" X ", frozenset({"nothing", "other"}))


@given(st.text(alphabet=st.sampled_from("${}()xy?:=!<> level10")))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    with contextlib.suppress(ExpansionError):
        value, unknown = expand(text, VALUES.get)
        assert "$" in text or (value, unknown) == (text, frozenset())


@given(st.dictionaries(st.sampled_from("abc"), st.text(alphabet=st.sampled_from("$abc${}?:x"))))
def test_parameters_that_refer_to_each_other_come_to_an_end(values: dict[str, str]) -> None:
    with contextlib.suppress(ExpansionError):
        value, _ = expand("$a$b$c", values.get)
        assert len(value) <= 2 * MAX_LENGTH
