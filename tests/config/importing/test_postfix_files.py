"""The syntax of main.cf and master.cf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsproxy.config.importing.postfix_files import (
    logical_lines,
    parse_main,
    parse_master,
    split_setting,
)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a\nb", [(1, "a"), (2, "b")]),
        ("a\n  b\n\tc\nd", [(1, "a  b\tc"), (4, "d")]),
        ("# comment\na\n", [(2, "a")]),
        ("a\n# comment\n  b", [(1, "a  b")]),
        ("a\n  # comment\n\n  b", [(1, "a  b")]),
        ("\n\n  a\nb", [(3, "  a"), (4, "b")]),
        ("a\r\nb\r\n", [(1, "a\r"), (2, "b\r")]),
    ],
)
def test_lines_that_start_with_white_space_continue_the_one_before(
    text: str, lines: list[tuple[int, str]]
) -> None:
    assert [(line.number, line.text) for line in logical_lines(text)] == lines


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("a = b", ("a", "b")),
        ("a=b c ", ("a", "b c")),
        ("a =", ("a", "")),
        ("a = b = c", ("a", "b = c")),
        ("a", None),
        ("a b = c", None),
        ("= c", None),
    ],
)
def test_a_setting_is_a_name_an_equals_sign_and_a_value(text: str, setting: tuple[str, str] | None) -> None:
    assert split_setting(text) == setting


def test_of_several_settings_the_last_counts_and_about_tls_that_is_said() -> None:
    settings, remarks = parse_main("a = 1\na = 2\nsmtpd_tls_x = 1\nsmtpd_tls_x = 2\nsmtpd_tls_x = 2\n")
    assert {name: (setting.value, setting.where) for name, setting in settings.items()} == {
        "a": ("2", "main.cf line 2"),
        "smtpd_tls_x": ("2", "main.cf line 5"),
    }
    assert [str(remark) for remark in remarks] == [
        "smtpd_tls_x = 1 (main.cf line 3): is set again in main.cf line 4: the last counts"
    ]


def test_a_line_that_is_no_setting_is_told() -> None:
    settings, [remark] = parse_main("nonsense\na = b\n")
    assert [*settings] == ["a"]
    assert 'nonsense (main.cf line 1): isn\'t "name = value"' in str(remark)


MASTER = """
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd -v
submission inet n       -       y       -       -       smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=encrypt
# -o commented=out
  -o { smtpd_tls_mandatory_protocols = TLSv1.2, TLSv1.3 }
  -osmtpd_tls_auth_only=yes
pickup    unix  n       -       y       60      1       pickup
maildrop  unix  -       n       n       -       -       pipe flags=DRhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
"""


def test_services_have_a_name_a_type_a_command_and_overrides() -> None:
    services, remarks = parse_master(MASTER)
    assert remarks == []
    assert [(service.name, service.type, service.command) for service in services] == [
        ("smtp", "inet", "smtpd"),
        ("submission", "inet", "smtpd"),
        ("pickup", "unix", "pickup"),
        ("maildrop", "unix", "pipe"),
    ]
    assert {name: setting.value for name, setting in services[1].overrides.items()} == {
        "syslog_name": "postfix/submission",
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_mandatory_protocols": "TLSv1.2, TLSv1.3",
        "smtpd_tls_auth_only": "yes",
    }
    assert services[1].overrides["smtpd_tls_auth_only"].where == "master.cf line 4, submission"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("smtp inet n - y", "fewer columns"),
        ("smtp inet n - y - - smtpd -o a = b", "isn't name=value"),
        ("smtp inet n - y - - smtpd -o a = b", "is no option"),
        ("smtp inet n - y - - smtpd -o", "isn't name=value"),
        ("smtp inet n - y - - smtpd a=b", "is no option"),
    ],
)
def test_what_postfix_would_trip_over_is_told(line: str, message: str) -> None:
    _, remarks = parse_master(line)
    assert any(message in str(remark) for remark in remarks)


@pytest.mark.parametrize("read", [parse_main, parse_master])
def test_any_beginning_of_a_file_can_be_read(read) -> None:  # type: ignore[no-untyped-def]
    for end in range(len(MASTER)):
        read(MASTER[:end])


@given(st.text(alphabet=st.sampled_from("ab =\n\t#{}-o$\0\r,:é")))
def test_any_text_can_be_read(text: str) -> None:
    settings, _ = parse_main(text)
    assert all(name and "\n" not in name for name in settings)
    services, _ = parse_master(text)
    assert all(service.command for service in services)
