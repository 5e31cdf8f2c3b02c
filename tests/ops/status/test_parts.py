"""What sections are made with: marked up so that it is heard as well as seen."""

from tests.ops.status.samples import NOW
from tlsproxy.ops.status.html import element
from tlsproxy.ops.status.parts import LONG, code, first, section, table, when


def test_a_long_name_can_be_read_whole_by_pointing_at_it() -> None:
    name = "x" * (LONG + 1)
    assert code(name) == f'<code title="{name}">{name}</code>'
    assert code(name[:LONG]) == f"<code>{name[:LONG]}</code>"


def test_a_time_is_one_for_machines_too() -> None:
    assert when(NOW) == '<time datetime="2026-11-23T08:00:00Z">2026-11-23 08:00:00 UTC</time>'


def test_a_section_is_named_by_its_heading() -> None:
    made = section("tls", "TLS", "content", note="a note")
    assert made.startswith('<section id="tls" aria-labelledby="tls-title">')
    assert '<h2 id="tls-title">TLS</h2><p class="about">a note</p>' in made


def test_a_table_has_a_caption_scopes_and_columns_of_numbers() -> None:
    made = table("Servers", ("Server", "#Used"), [element("tr", element("td", "a"))])
    assert '<caption class="unseen">Servers</caption>' in made
    assert '<th scope="col">Server</th><th scope="col" class="number">Used</th>' in made
    assert "more row" not in made


def test_what_there_is_no_room_for_is_counted() -> None:
    assert first([1, 2, 3], 2) == ([1, 2], 1)
    assert first([1, 2], 2) == ([1, 2], 0)
    assert "2 more rows: see /status.json" in table("t", ("a",), [], more=2)
