"""The syntax of ecelerity.conf. Some of the samples are those of Momentum's manual."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.importing.momentum_files import (
    MAX_NESTING,
    Assignment,
    Include,
    MomentumSyntaxError,
    Scope,
    Statement,
    parse,
)

LISTENER = """
ESMTP_Listener {
  Peer "10.0.0.0/16" {
    # general options for this netblock here
    Open_Relay = true
  }
  Listen ":25" {
    Peer "10.0.0.1" {
      /* options for 10.0.0.1
         here */
      SMTP_Extensions = ( "ENHANCEDSTATUSCODES" "AUTH LOGIN" )
      context = [
        my_key = "my_value"
        my_other_key = "my_other_value"
      ]
    }
  }
}
"""


def outline(statements: list[Statement]) -> list[object]:
    """Without places."""
    found: list[object] = []
    for statement in statements:
        match statement:
            case Assignment():
                found.append((statement.name, statement.value))
            case Scope():
                found.append((statement.name, statement.label, outline(list(statement.body))))
            case Include():
                found.append(statement.path)
    return found


def test_scopes_hold_scopes_and_assignments() -> None:
    assert outline(parse(LISTENER, "f")) == [
        (
            "esmtp_listener",
            "",
            [
                ("peer", "10.0.0.0/16", [("open_relay", "true")]),
                (
                    "listen",
                    ":25",
                    [
                        (
                            "peer",
                            "10.0.0.1",
                            [
                                ("smtp_extensions", ["ENHANCEDSTATUSCODES", "AUTH LOGIN"]),
                                ("context", ["my_key", "my_value", "my_other_key", "my_other_value"]),
                            ],
                        )
                    ],
                ),
            ],
        )
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("A = b", [("a", "b")]),
        ('a = \'b c\'; d = "e\\"f"', [("a", "b c"), ("d", 'e"f')]),
        ("a=/opt/x:y", [("a", "/opt/x:y")]),
        ("a = +ALL:-SSLv3", [("a", "+ALL:-SSLv3")]),
        ("a = b/* c */d = e", [("a", "b"), ("d", "e")]),
        ("a = b # c\n# d\n", [("a", "b")]),
        ('ESMTP_Listener = { Listen ":465" {} }', [("esmtp_listener", "", [("listen", ":465", [])])]),
        ("Listen example {}", [("listen", "example", [])]),
        ("a = ( b, c )", [("a", ["b", "c"])]),
        ("a = ( [ b = c ] ( d ) )", [("a", ["b", "c", "d"])]),
        ('include "/etc/x"', ["/etc/x"]),
        ("readonly_include x.conf a = b", ["x.conf", ("a", "b")]),
    ],
)
def test_statements(text: str, expected: list[object]) -> None:
    assert outline(parse(text, "f")) == expected


def test_statements_know_where_they_stand_and_how_they_were_written() -> None:
    scope = parse(LISTENER, "ecelerity.conf")[0]
    assert isinstance(scope, Scope)
    assert scope.where == "ecelerity.conf line 2"
    [assignment] = parse("Tls_X = ( a b )", "f")
    assert isinstance(assignment, Assignment)
    assert assignment.text == "tls_x = ( a b )"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a = "b', "line 1: a string doesn't end"),
        ("a = b\n/* c", "line 2: a comment doesn't end"),
        ("a {", "'the end of the file' is not the } of the scope"),
        ("a = ( b", "'the end of the file' is not the ) of the list"),
        ("a = ( b ]", "']' is not the ) of the list"),
        ("}", "'}' is what belongs to no scope"),
        ("a = }", "'}' is no value"),
        ("a b c", "'c' is not what follows a"),
        ("a", "not what follows a"),
        ("= b", "'=' is what belongs to no scope"),
        ("a {" * (MAX_NESTING + 1), "scopes deep"),
        ("a = " + "(" * (MAX_NESTING + 1), "scopes deep"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(MomentumSyntaxError) as caught:
        parse(text, "f")
    assert message in str(caught.value)


def test_any_beginning_of_a_file_is_read_or_refused() -> None:
    for end in range(len(LISTENER)):
        with contextlib.suppress(MomentumSyntaxError):
            parse(LISTENER[:end], "f")


@given(st.text(alphabet=st.sampled_from("ab={}()[]\"'#/*\n ,;\\+-\0é")))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(MomentumSyntaxError):
        parse(text, "f")
