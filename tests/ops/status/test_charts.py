"""Pictures are as long as the figures beside them, and none says what the text doesn't."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.ops.status.charts import MAX_BARS, Part, bar, bars, shares


def numbers(attribute: str, markup: str) -> list[float]:
    return [float(found) for found in re.findall(rf' {attribute}="([\d.]+)"', markup)]


@pytest.mark.parametrize(
    ("value", "greatest", "width"), [(5, 10, 50), (10, 10, 100), (20, 10, 100), (0, 10, 0), (0, 0, 0)]
)
def test_a_bar_is_as_long_as_its_share_of_the_greatest(value: float, greatest: float, width: float) -> None:
    assert numbers("width", bar(value, greatest)) == [100, width]


def test_what_is_little_is_still_seen() -> None:
    assert numbers("width", bar(1, 1_000_000))[1] > 0.5


def test_bars_tell_name_share_and_number() -> None:
    text = re.sub("<[^>]*>", " ", bars({"one": 30, "other": 10})).split()
    assert text == ["one", "75", "%", "30", "other", "25", "%", "10"]


def test_bars_without_end_are_one_together() -> None:
    made = bars({f"cipher {number}": 10 - number / 100 for number in range(MAX_BARS + 3)})
    assert made.count("<svg") == MAX_BARS + 1
    assert "3 others" in made


def test_names_in_pictures_are_text() -> None:
    assert "<b>" not in bars({"<b>": 1})
    assert "<b>" not in shares("<b>", [Part("<b>", 1, "plain")])


def test_a_divided_bar_says_what_it_shows() -> None:
    made = shares(
        "TLS versions", [Part("TLSv1.3", 3, "tls13"), Part("TLSv1.2", 1, "tls12"), Part("no", 0, "rest")]
    )
    assert 'aria-label="TLS versions: TLSv1.3 75 %, TLSv1.2 25 %"' in made
    assert "rest" not in made


@given(st.lists(st.floats(0, 1e12), max_size=6))
def test_parts_fill_the_bar_and_do_not_overlap(values: list[float]) -> None:
    made = shares("x", [Part(str(index), value, "plain") for index, value in enumerate(values)])
    starts, widths = numbers("x", made), numbers("width", made)
    ends = [start + width for start, width in zip(starts, widths, strict=True)]
    assert len(widths) == sum(1 for value in values if value)
    assert all(following >= end - 0.02 for end, following in zip(ends, starts[1:], strict=False))
    if ends:
        assert ends[-1] == pytest.approx(100, abs=0.1)
