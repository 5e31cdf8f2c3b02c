"""Nothing that was given as text becomes markup."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.ops.status.html import MAX_TEXT, Markup, element, join, text


class Reader(HTMLParser):
    """What a browser makes of it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.data = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.data += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_pi = handle_decl = unknown_decl = handle_comment


hostile = st.one_of(
    st.text(max_size=100),
    st.text("<>&\"'/=!- abcscript\n\r\0", max_size=100),
    st.sampled_from(["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;", "-->", "]]>"]),
)


@given(hostile, hostile)
def test_text_is_text_in_content_and_in_attributes(content: str, value: str) -> None:
    read = Reader(element("p", content, title=value))
    assert read.seen == ["p"]
    assert read.data == unescape(text(content))
    assert [name for name, _ in read.attributes] == ["title"]


@given(hostile)
def test_text_is_printable_and_bounded(value: str) -> None:
    shown = unescape(text(value))
    assert shown.isprintable()
    assert len(shown) <= MAX_TEXT


def test_text_that_is_short_and_printable_is_shown_as_it_is() -> None:
    assert text("mx.example.org ü") == "mx.example.org ü"
    assert text("a\tb\u202ec") == "a\\tb\\u202ec"
    assert text("x" * (MAX_TEXT + 1)) == "x" * (MAX_TEXT - 1) + "…"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (element("td", 3), "<td>3</td>"),
        (element("td", element("b", "x"), None, ["y", [1.5]]), "<td><b>x</b>y1.5</td>"),
        (element("rect", width=5), '<rect width="5"/>'),
        (element("td", class_="a", aria_label="b"), '<td class="a" aria-label="b"></td>'),
        (element("input", checked=True, hidden=False, value=None), "<input checked/>"),
        (element("meta", name="robots"), '<meta name="robots"/>'),
        (join(), ""),
    ],
)
def test_elements(made: Markup, expected: str) -> None:
    assert made == expected


def test_joined_markup_is_markup() -> None:
    assert isinstance(join(element("b"), "<"), Markup)
    assert re.fullmatch("<b></b>&lt;", join(element("b"), "<"))
