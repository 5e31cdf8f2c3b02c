"""The table and the JSON say the same."""

import json

from tlsproxy.cli.server_probe.findings import Verdict, bad, ok, unknown, warn, worst
from tlsproxy.cli.server_probe.report import WIDTH, as_json, as_table

FINDINGS = [ok("one", "fine", number=1), bad("another", "word " * 60), warn("third", "a\x1b[31mb\nc")]


def test_long_details_go_on_in_their_column() -> None:
    *lines, empty, end = "\n".join(as_table(FINDINGS, "here")).split("\n")
    assert (empty, end) == ("", "here: 1 bad, 1 warn, 1 ok")
    assert lines[0] == "ok       one      fine"
    assert lines[1].startswith("bad      another  word word ")
    assert lines[2].startswith(" " * 18 + "word ")
    assert max(map(len, lines)) <= WIDTH


def test_a_server_can_not_write_to_the_terminal() -> None:
    assert r"a\x1b[31mb\nc" in "\n".join(as_table(FINDINGS, "here"))


def test_json_has_the_facts() -> None:
    told = json.loads(json.dumps(as_json(FINDINGS, {"server": "here"})))
    assert (told["server"], told["verdict"]) == ("here", "bad")
    assert told["findings"][0] == {"what": "one", "verdict": "ok", "detail": "fine", "facts": {"number": 1}}


def test_the_worst_counts() -> None:
    one, two, three = ok("a", ""), warn("b", ""), unknown("c", "")
    assert [worst(each) for each in ([], [one], [one, two], [one, two, three], [*FINDINGS, three])] == [
        Verdict.OK,
        Verdict.OK,
        Verdict.WARN,
        Verdict.UNKNOWN,
        Verdict.BAD,
    ]
