"""A note becomes one line, whatever a client put into it."""

import json
import string
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.notes import NOTE_KINDS, sample, sparse
from tlsproxy.notes import Level, Note, ServiceStopped, SessionFault, TlsEstablished, TlsRefused
from tlsproxy.ops.lines import ForeignEvent, JsonLines, LineFormat, TextLines, line_format

WHEN = 1_795_409_291.25  # 2026-11-23T04:48:11.25Z
FORMATS = [JsonLines(), TextLines()]

HOSTILE = {
    "CR LF": "x\r\n2026-11-23T04:48:11.250000Z info session_ended: forged",
    "ESC": "x\x1b[2J\x1b[31m",
    "NUL": "x\0y",
    "U+2028": "x\u2028y",
    "U+0085": "x\x85y",
    "right-to-left": "x\u202ey",
    "lone surrogate": "x\udc80y",
    "DEL": "x\x7fy",
    "quote": 'x" level=error detail="y',
    "backslash": "x\\",
}

established = TlsEstablished(
    session="1f",
    client="10.3.7.9:51234",
    listen="0.0.0.0:465",
    version="TLSv1.3",
    cipher="TLS_AES_128_GCM_SHA256",
    cipher_bits=128,
    group="X25519",
    server_name="mx.example.org",
)


def refused(**values: Any) -> TlsRefused:
    fields = {"session": "1f", "client": "10.3.7.9:51234", "listen": "0.0.0.0:465"}
    return TlsRefused(**fields | {"reason": "handshake_failed", "detail": "no shared cipher"} | values)


def test_json_line_has_time_level_event_and_the_fields_that_are_set() -> None:
    assert JsonLines().note(established, WHEN) == (
        '{"time":"2026-11-23T04:48:11.250000Z","level":"info","event":"tls_established","session":"1f",'
        '"client":"10.3.7.9:51234","listen":"0.0.0.0:465","version":"TLSv1.3","cipher":"TLS_AES_128_GCM_SHA256",'
        '"cipher_bits":128,"group":"X25519","server_name":"mx.example.org","resumed":false}'
    )


def test_text_line_reads_time_level_event_session_text_and_the_rest() -> None:
    assert TextLines().note(established, WHEN) == (
        "2026-11-23T04:48:11.250000Z info tls_established client=10.3.7.9:51234 listen=0.0.0.0:465 session=1f: "
        "TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128 bits) group=X25519 server_name=mx.example.org resumed=false"
    )


def test_text_line_without_time_begins_with_the_level() -> None:
    line = TextLines(with_time=False).note(ServiceStopped(sessions_cut=2), WHEN)
    assert line == "info stopped: stopped, 2 sessions cut"


def test_time_has_microseconds_even_where_they_are_nought() -> None:
    assert (
        JsonLines()
        .note(ServiceStopped(sessions_cut=0), 0.0)
        .startswith('{"time":"1970-01-01T00:00:00.000000Z"')
    )


@pytest.mark.parametrize("kind", NOTE_KINDS, ids=lambda kind: kind.event)
@pytest.mark.parametrize("make", [sample, sparse])
def test_every_note_is_one_json_object_with_its_fields(kind: type[Note], make: Any) -> None:
    note = make(kind)
    line = JsonLines().note(note, WHEN)
    assert "\n" not in line
    fields = {name: value for name, value in attrs.asdict(note).items() if value is not None}
    head = {"time": "2026-11-23T04:48:11.250000Z", "level": kind.level.value, "event": kind.event}
    assert json.loads(line) == head | fields


@pytest.mark.parametrize("kind", NOTE_KINDS, ids=lambda kind: kind.event)
@pytest.mark.parametrize("make", [sample, sparse])
def test_every_note_is_one_readable_line_with_its_fields(kind: type[Note], make: Any) -> None:
    note = make(kind)
    line, *traceback = TextLines().note(note, WHEN).split("\n")
    assert line.startswith(f"2026-11-23T04:48:11.250000Z {kind.level.value} {kind.event}")
    assert bool(traceback) == (kind is SessionFault)
    spoken = {name for _, name, _, _ in string.Formatter().parse(kind.text)}
    for field in attrs.fields(kind):
        if field.name not in spoken and field.name != "traceback":
            assert (f"{field.name}=" in line) == (getattr(note, field.name) is not None)


@pytest.mark.parametrize("kind", NOTE_KINDS, ids=lambda kind: kind.event)
def test_every_text_names_fields_that_the_note_always_has(kind: type[Note]) -> None:
    required = {field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING}
    assert {name for _, name, _, _ in string.Formatter().parse(kind.text) if name} <= required


@pytest.mark.parametrize("kind", NOTE_KINDS, ids=lambda kind: kind.event)
def test_no_field_takes_the_name_of_something_that_every_line_has(kind: type[Note]) -> None:
    assert {"time", "level", "event"}.isdisjoint(field.name for field in attrs.fields(kind))


def test_events_have_distinct_names() -> None:
    assert len({kind.event for kind in NOTE_KINDS}) == len(NOTE_KINDS)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("field", ["detail", "server_name"])
@pytest.mark.parametrize("lines", FORMATS, ids=["json", "text"])
def test_a_hostile_value_stays_inside_its_field(lines: LineFormat, field: str, text: str) -> None:
    line = lines.note(refused(**{field: text}), WHEN)
    assert all(" " <= character <= "~" for character in line)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_json_gives_a_hostile_value_back(text: str) -> None:
    assert json.loads(JsonLines().note(refused(server_name=text), WHEN))["server_name"] == text


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        ("plain", "server_name=plain"),
        ("two words", 'server_name="two words"'),
        ("a=b", 'server_name="a=b"'),
        ("", 'server_name=""'),
        ('"', r'server_name="\""'),
        ("x level=error", 'server_name="x level=error"'),
        ("\u00fc", r'server_name="\u00fc"'),
        ("a\r\nb", r'server_name="a\r\nb"'),
    ],
)
def test_a_value_that_would_run_into_the_next_is_quoted(value: str, pair: str) -> None:
    assert TextLines().note(refused(server_name=value), WHEN).endswith(f" {pair}")


def test_a_text_escapes_what_it_quotes() -> None:
    line = TextLines(with_time=False).note(refused(detail='"\n\x1b'), WHEN)
    assert line.endswith(r"TLS refused (handshake_failed): \"\n\u001b")


def test_a_traceback_follows_on_indented_lines() -> None:
    note = SessionFault(
        session="1", client="c", listen="l", detail="boom", traceback='Traceback:\n  File "x"\nboom\n'
    )
    assert TextLines(with_time=False).note(note, WHEN).split("\n") == [
        "error session_fault client=c listen=l session=1: internal error, session ended: boom",
        "    | Traceback:",
        '    |   File \\"x\\"',
        "    | boom",
    ]


@given(st.text(alphabet=st.characters(), max_size=40))
def test_a_traceback_can_not_pose_as_a_line_of_its_own(text: str) -> None:
    """An exception's message may hold what a client sent."""
    first, *others = TextLines().foreign(ForeignEvent(Level.ERROR, text, text, text), WHEN).split("\n")
    assert first.startswith("2026-11-23T04:48:11.250000Z error twisted namespace=")
    assert all(line.startswith("    | ") for line in others)
    assert all(" " <= character <= "~" for line in (first, *others) for character in line)


@given(st.text(alphabet=st.characters(), max_size=40))
def test_any_text_comes_back_from_json(text: str) -> None:
    line = JsonLines().note(refused(detail=text, server_name=text), WHEN)
    assert line.isascii()
    assert "\n" not in line
    decoded = json.loads(line)
    assert [decoded["detail"], decoded["server_name"]] == [text, text]


def test_what_others_log_has_the_same_form() -> None:
    event = ForeignEvent(Level.ERROR, "twisted.web", "Unhandled\nerror", "Traceback:\nboom")
    assert json.loads(JsonLines().foreign(event, WHEN)) == {
        "time": "2026-11-23T04:48:11.250000Z",
        "level": "error",
        "event": "twisted",
        "namespace": "twisted.web",
        "message": "Unhandled\nerror",
        "traceback": "Traceback:\nboom",
    }
    assert TextLines().foreign(event, WHEN) == (
        "2026-11-23T04:48:11.250000Z error twisted namespace=twisted.web: Unhandled\\nerror\n"
        "    | Traceback:\n"
        "    | boom"
    )


def test_formats_are_known_by_the_words_of_log_format() -> None:
    assert isinstance(line_format("json"), JsonLines)
    assert line_format("text") == TextLines(with_time=True)
    assert line_format("text", with_time=False) == TextLines(with_time=False)
    with pytest.raises(ValueError, match='"xml" isn\'t known; valid are "json" and "text"'):
        line_format("xml")
