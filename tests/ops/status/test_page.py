"""The page: whole, by itself, with nothing in it that somebody else wrote but as text."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.status.samples import NOW, SERVICE
from tests.ops.status.views import CLIENT, SUMMARY
from tlsproxy.ops.status.model import ServiceState, ShadowReport, service_from_values, service_to_values
from tlsproxy.ops.status.overview import SOON
from tlsproxy.ops.status.page import MAX_FINDINGS, POLICY, render

REPORT = ShadowReport(clients=[CLIENT], summary=[SUMMARY])


class Reader(HTMLParser):
    """A page as a browser reads it; whatever isn't closed in order is an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page() -> Reader:
    return Reader(render(SERVICE, NOW, REPORT))


def test_nothing_is_fetched_from_anywhere(page: Reader) -> None:
    targets = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("href", "src", "srcset", "action", "data")
    ]
    assert targets
    assert all(value and re.match(r"#|data:,$|/[a-z.]+$", value) for value in targets)
    assert not re.search(r"url\(|@import", render(SERVICE, NOW))


def test_the_policy_lets_the_page_s_own_style_and_script_run_and_nothing_else() -> None:
    html = render(SERVICE, NOW)
    for tag in ("style", "script"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in POLICY
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY


def test_no_element_needs_what_the_policy_forbids(page: Reader) -> None:
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]


def test_the_page_has_a_language_a_title_and_headings_in_order(page: Reader) -> None:
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_tables_say_what_their_cells_belong_to(page: Reader) -> None:
    assert len(page.all("caption")) == len(page.all("table")) > 0
    assert all(head["scope"] in ("col", "row", "rowgroup") for head in page.all("th"))


def test_pictures_have_words_or_stand_beside_them(page: Reader) -> None:
    assert all(
        each.get("aria-hidden") == "true" or (each["role"] == "img" and each["aria-label"])
        for each in page.all("svg")
    )


def test_links_within_the_page_lead_somewhere(page: Reader) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a") if (link["href"] or "")[0] == "#"} <= set(ids)  # type: ignore[index]


def test_sections_without_anything_to_say_are_not_linked() -> None:
    assert "Who would break" in render(SERVICE, NOW, REPORT)
    assert "Who would break" not in render(SERVICE, NOW)


@pytest.mark.parametrize(
    ("status", "words", "title"),
    [
        (SERVICE, "running 1 problem", "(1) tlsproxy"),
        (
            evolve(SERVICE, last_reload=None, state=ServiceState.DRAINING),
            "draining 2 warnings",
            "tlsproxy: draining",
        ),
    ],
)
def test_the_head_tells_how_the_service_is(status: Any, words: str, title: str) -> None:
    html = render(status, NOW)
    assert f"<title>{title}</title>" in html
    state = html.partition('id="state"')[2].partition("</div>")[0].partition(">")[2]
    assert " ".join(re.sub("<[^>]*>", " ", state).split()).startswith(words)


def test_a_healthy_service_is_well() -> None:
    processes = tuple(evolve(each, backends=()) for each in SERVICE.processes)
    html = render(evolve(SERVICE, last_reload=None, processes=processes), NOW)
    assert "all is well" in html
    assert "Worth a look" not in html


def test_problems_on_top_are_bounded() -> None:
    ending = evolve(SERVICE.processes[0].certificates[0], not_after=NOW + (SOON - 1) * 86400)
    many = tuple(evolve(ending, sha256=f"{number:064x}") for number in range(MAX_FINDINGS + 5))
    processes = (evolve(SERVICE.processes[0], certificates=many),)
    html = render(evolve(SERVICE, processes=processes), NOW)
    assert html.count('class="minor"') + html.count('class="grave"') == MAX_FINDINGS


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\r\n\0\u202e'


def poisoned(value: Any, text: str) -> Any:
    """``value`` with every free text replaced."""
    if isinstance(value, dict):
        return {
            key: each if key in ("state", "families", "standing") else poisoned(each, text)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [poisoned(each, text) for each in value]
    return text if isinstance(value, str) else value


@settings(max_examples=30, deadline=None)
@given(st.one_of(st.just(HOSTILE), st.text(max_size=50), st.text("<>&\"'/=! ascript", max_size=50)))
def test_no_name_becomes_part_of_the_page(text: str) -> None:
    """Wherever a text comes from, it adds neither elements nor attributes."""
    clean = Reader(render(SERVICE, NOW, REPORT))
    status = service_from_values(poisoned(service_to_values(SERVICE), text))
    report = ShadowReport(
        clients=[{**CLIENT, "helo": text, "network": text}], summary=[{**SUMMARY, "listen": text}]
    )
    dirty = Reader(render(status, NOW, report))
    allowed = {(tag, name) for tag, attributes in clean.elements for name in attributes} | {
        ("code", "title"),
        ("td", "colspan"),
    }
    assert {(tag, name) for tag, attributes in dirty.elements for name in attributes} <= allowed
    assert {tag for tag, _ in dirty.elements} <= {tag for tag, _ in clean.elements} | {"div"}
    assert len(dirty.all("script")) == 1
