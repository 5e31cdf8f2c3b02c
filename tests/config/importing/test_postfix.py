"""Postfix's configuration to ours."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.config.importing.checking import checked
from tlsproxy.config.importing.postfix import import_postfix
from tlsproxy.config.importing.remarks import ImportFailed

MAIN = """
compatibility_level = 3.6
myhostname = mx.example.org
mydomain = example.org
mynetworks = 127.0.0.0/8 [::1]/128 10.0.0.0/8 hash:/etc/postfix/access
smtpd_tls_cert_file = /etc/letsencrypt/live/$myhostname/fullchain.pem
smtpd_tls_key_file = /etc/letsencrypt/live/$myhostname/privkey.pem
smtpd_tls_security_level = may
smtpd_tls_mandatory_protocols = >=TLSv1.2
smtpd_tls_exclude_ciphers = aNULL, MD5,
  RC4
"""

MASTER = """
smtp       inet n - y - - smtpd
127.0.0.1:10025 inet n - y - - smtpd
  -o content_filter=
submission inet n - y - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
smtps      inet n - y - - smtpd
  -o smtpd_tls_wrappermode=yes
pickup     unix n - y 60 1 pickup
"""


def test_each_service_becomes_a_listener_with_a_backend() -> None:
    configuration, resolved = checked(import_postfix(MAIN, MASTER))
    assert configuration.warnings == ()
    assert [
        (listener.backend, [str(each.address) for each in listener.listens])
        for listener in configuration.listeners
    ] == [
        ("smtp", ["0.0.0.0:25", "[::]:25"]),
        ("submission", ["0.0.0.0:587", "[::]:587"]),
        ("submissions", ["0.0.0.0:465", "[::]:465"]),
    ]
    smtp, submission, submissions = (
        resolved[address] for address in ("0.0.0.0:25", "0.0.0.0:587", "0.0.0.0:465")
    )
    assert (smtp.tls_security_level.value, smtp.tls_protocols.text) == ("may", ">=TLSv1")
    assert (submission.tls_security_level.value, submission.tls_protocols.text) == ("encrypt", ">=TLSv1.2")
    assert submissions.tls_wrappermode
    assert {each.tls_ciphers for each in resolved.values()} == {"HIGH:!aNULL:!MD5:!RC4"}
    assert smtp.tls_certificate == ("/etc/letsencrypt/live/mx.example.org/fullchain.pem",)
    assert smtp.smtp_hostname == "mx.example.org"


def test_what_all_services_share_stands_at_the_top() -> None:
    top = import_postfix(MAIN, MASTER).toml.partition("\n[")[0]
    assert 'tls_ciphers = "HIGH:!aNULL:!MD5:!RC4"' in top
    assert "tls_protocols =" not in top


def test_networks_without_limits_become_peers() -> None:
    imported = import_postfix(MAIN, MASTER)
    assert 'network = "10.0.0.0/8"' in imported.toml
    assert any(
        "hash:/etc/postfix/access: exceptions from limits are" in remark.message
        for remark in imported.remarks
    )


def test_a_service_that_only_this_machine_reaches_is_left_to_postfix() -> None:
    imported = import_postfix(MAIN, MASTER)
    assert "10025 inet" not in imported.toml
    assert any("is left to Postfix" in remark.message for remark in imported.remarks)


def test_where_all_are_bound_to_loopback_all_are_taken() -> None:
    master = "127.0.0.1:2025 inet n - y - - smtpd\n127.0.0.1:2026 inet n - y - - smtpd\n"
    configuration, _ = checked(import_postfix(MAIN, master))
    assert len(configuration.listeners) == 2


def test_without_master_there_is_port_25_and_that_is_said() -> None:
    imported = import_postfix(MAIN, None)
    configuration, _ = checked(imported)
    assert [str(each.address) for each in configuration.listeners[0].listens] == ["0.0.0.0:25", "[::]:25"]
    assert "# note: no master.cf was given" in imported.toml


def test_the_servers_can_be_given() -> None:
    configuration, _ = checked(import_postfix(MAIN, MASTER, servers=["10.0.0.5:25", "10.0.0.5:25"]))
    assert {tuple(map(str, backend.servers)) for backend in configuration.backends.values()} == {
        ("10.0.0.5:25",)
    }


def test_a_port_for_postfix_is_none_that_clients_come_to() -> None:
    master = "smtp inet n - y - - smtpd\n2525 inet n - y - - smtpd\n2526 inet n - y - - smtpd\n"
    configuration, _ = checked(import_postfix(MAIN, master))
    servers = [str(server) for backend in configuration.backends.values() for server in backend.servers]
    assert servers == ["127.0.0.1:2527", "127.0.0.1:4525", "127.0.0.1:4526"]


def test_postscreen_takes_its_smtpd_s_options_and_is_told_of() -> None:
    master = "smtp inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\n  -o smtpd_tls_protocols=TLSv1.3\n"
    imported = import_postfix(MAIN, master)
    _, resolved = checked(imported)
    assert resolved["0.0.0.0:25"].tls_protocols.text == "TLSv1.3"
    assert any("postscreen would judge" in remark.message for remark in imported.remarks)


def test_proxy_headers_are_believed_from_nobody_until_networks_are_named() -> None:
    imported = import_postfix(MAIN + "smtpd_upstream_proxy_protocol = haproxy\n", None)
    assert not imported.complete
    assert "Name the networks of the balancers" in imported.toml
    configuration, _ = checked(imported)
    assert configuration.listeners[0].listens[0].proxy_protocol_from == ()


def test_an_address_is_listened_on_once() -> None:
    master = "smtp inet n - y - - smtpd\n25 inet n - y - - smtpd\n192.0.2.1:25 inet n - y - - smtpd\n"
    imported = import_postfix(MAIN, master)
    configuration, _ = checked(imported)
    assert len(configuration.listeners) == 1
    assert [remark.setting for remark in imported.remarks if "no address is left" in remark.message] == [
        "25",
        "192.0.2.1:25",
    ]


def test_everything_carried_over_is_a_complete_translation() -> None:
    main = "smtpd_tls_chain_files = /c.pem\nsmtpd_tls_security_level = may\n"
    assert import_postfix(main, "smtp inet n - y - - smtpd\n").complete


@pytest.mark.parametrize(
    ("main", "master"),
    [
        ("", ""),
        (MAIN, "pickup unix n - y 60 1 pickup"),
        ("smtpd_tls_wrappermode = yes", None),
        ("", "x inet n - y - - smtpd"),
    ],
)
def test_without_a_service_to_stand_in_front_of_there_is_no_result(main: str, master: str | None) -> None:
    with pytest.raises(ImportFailed):
        import_postfix(main, master)


def test_any_beginning_of_the_files_comes_to_a_valid_configuration() -> None:
    for end in range(0, len(MAIN) + 1, 7):
        checked(import_postfix(MAIN[:end], MASTER))
    for end in range(0, len(MASTER) + 1, 3):
        with contextlib.suppress(ImportFailed):
            checked(import_postfix(MAIN, MASTER[:end]))


PARAMETERS = """
smtpd_tls_security_level smtpd_tls_wrappermode smtpd_use_tls smtpd_tls_protocols smtpd_tls_mandatory_protocols
smtpd_tls_ciphers smtpd_tls_exclude_ciphers tls_medium_cipherlist smtpd_tls_cert_file smtpd_tls_key_file
smtpd_tls_chain_files smtpd_tls_eccert_file smtpd_tls_req_ccert smtpd_tls_ask_ccert smtpd_tls_CAfile smtpd_tls_auth_only
smtpd_sasl_auth_enable smtpd_discard_ehlo_keywords smtpd_forbid_bare_newline smtpd_starttls_timeout smtpd_timeout
smtpd_client_connection_count_limit smtpd_client_connection_rate_limit anvil_rate_time_unit mynetworks myhostname
inet_interfaces inet_protocols smtpd_upstream_proxy_protocol smtpd_tls_session_cache_timeout"""
NAMES = st.sampled_from(PARAMETERS.split())
VALUES = """
yes no may encrypt none all ipv4 ipv6 loopback-only localhost 192.0.2.1 10.0.0.0/8 [::1]/128 0 1 99999 1h 300s
>=TLSv1 >=TLSv1.2 !TLSv1.3 TLSv1.2 >= <=TLSv1.1 HIGH aNULL RC4 high null /etc/c.pem /etc/c.key c.pem mx.example.org
starttls etrn $myhostname ${smtpd_timeout?x} $ ${ haproxy normalize"""
WORDS = st.one_of(
    st.sampled_from(VALUES.split()),
    st.text(max_size=8),
)
SETTINGS = st.lists(st.tuples(NAMES, st.lists(WORDS, max_size=3).map(" ".join)), max_size=12)
SERVICES = st.lists(
    st.tuples(
        st.sampled_from(
            ["smtp", "submission", "smtps", "2525", "127.0.0.1:10025", "192.0.2.1:25", "[::1]:25", "x"]
        ),
        st.sampled_from(["smtpd", "postscreen", "qmgr"]),
        SETTINGS,
    ),
    max_size=4,
)


# Each configuration is resolved and checked as a whole, which is what takes the time.
MAX_EXAMPLES = 100


def master_entry(service: tuple[str, str, list[tuple[str, str]]]) -> str:
    name, command, options = service
    lines = [f"{name} inet n - y - - {command}", *(f"  -o {{ {key} = {value} }}" for key, value in options)]
    return "\n".join(lines)


@settings(max_examples=MAX_EXAMPLES)
@given(SETTINGS, SERVICES)
def test_whatever_is_configured_the_result_is_valid(
    parameters: list[tuple[str, str]], services: list[tuple[str, str, list[tuple[str, str]]]]
) -> None:
    main = "".join(f"{name} = {value}\n" for name, value in parameters)
    with contextlib.suppress(ImportFailed):
        checked(import_postfix(main, "\n".join(map(master_entry, services))))


@given(st.text(), st.none() | st.text())
def test_whatever_the_files_hold_there_is_a_valid_result_or_none(main: str, master: str | None) -> None:
    with contextlib.suppress(ImportFailed):
        checked(import_postfix(main, master))
