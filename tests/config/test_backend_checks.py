"""What goes together in a backend, and what doesn't."""

import pytest

from tests.config.documents import only_problem, parsed, problems, warnings
from tlsproxy.config.addresses import parse_server_address
from tlsproxy.config.backend_checks import server_name

TLS = 'tls = "implicit"\ntls_ca = "ca.pem"\n'


def backed(options: str, *kinds: str, servers: str = '["mail.example:25"]') -> str:
    """A file with a backend and a listener of each kind that uses it."""
    listeners = "".join(
        f'[[{kind}_listener]]\nbackend = "x"\n[[{kind}_listener.listen]]\naddress = "192.0.2.1:{port}"\n'
        for port, kind in enumerate(kinds or ("esmtp",), start=1)
    )
    identity = 'identity = "transparent"\n' if "identity" not in options else ""
    return f"[backend.x]\nservers = {servers}\n{identity}{options}\n{listeners}"


class TestServers:
    def test_a_server_is_named_once(self) -> None:
        assert only_problem(backed("", servers='["mail:25", "mail:26", "MAIL:25"]')) == (
            "backend.x.servers[2]: mail:25 is servers[0] as well: name it once, with a higher weight"
        )

    def test_weights_need_a_policy_that_uses_them(self) -> None:
        servers = '[{address = "mail:25", weight = 2}]'
        assert only_problem(backed("", servers=servers)) == (
            'backend.x.servers[0].weight: has no meaning with policy = "failover", where order alone counts'
        )
        assert parsed(backed('policy = "round_robin"', servers=servers))


class TestTimes:
    def test_a_client_waits_for_one_attempt_at_least(self) -> None:
        assert only_problem(backed("connect_timeout = 10\nconnect_deadline = 9")) == (
            "backend.x.connect_deadline: must be at least connect_timeout, 10 seconds, not 9"
        )

    def test_a_check_is_over_before_the_next(self) -> None:
        options = "health_check_timeout = 5\nhealth_check_interval = 4\n"
        assert only_problem(backed(f'{options}health_check = "tcp"')) == (
            "backend.x.health_check_timeout: must be at most health_check_interval, 4 seconds, not 5"
        )
        assert parsed(backed(options))


class TestTls:
    @pytest.mark.parametrize("tls", ["implicit", "starttls"])
    def test_it_takes_authorities(self, tls: str) -> None:
        line = only_problem(backed(f'tls = "{tls}"'))
        assert line.startswith(f'backend.x.tls_ca: is missing: tls = "{tls}" needs the PEM file')

    @pytest.mark.parametrize(
        "option",
        ['tls_ca = "ca.pem"', "tls_verify_name = false", 'tls_server_name = "x"', 'tls_protocols = ""'],
    )
    def test_without_it_its_options_are_a_mistake(self, option: str) -> None:
        name = option.partition(" ")[0]
        assert only_problem(backed(option)) == (
            f'backend.x.{name}: has no effect with tls = "none": connections to the servers are in plaintext'
        )

    def test_a_key_needs_a_certificate(self) -> None:
        assert only_problem(backed(f'{TLS}tls_key = "x.key"')) == (
            "backend.x.tls_key: has no effect without tls_certificate"
        )

    def test_a_socket_file_has_no_name_to_verify(self) -> None:
        servers = '["unix:/run/x"]'
        assert only_problem(backed(TLS, servers=servers)) == (
            "backend.x.tls_server_name: is missing: unix:/run/x has no name that a certificate could be verified for"
        )
        assert parsed(backed(f'{TLS}tls_server_name = "mail.example"', servers=servers))
        assert parsed(backed(f"{TLS}tls_verify_name = false", servers=servers))

    def test_names_that_are_not_verified_are_warned_of(self) -> None:
        (line,) = warnings(backed(f"{TLS}tls_verify_name = false"))
        assert line.startswith("backend.x.tls_verify_name: false: whoever has any certificate")
        assert warnings(backed(TLS)) == []

    @pytest.mark.parametrize("identity", ["proxy_v1", "proxy_v2"])
    def test_a_proxy_header_would_come_too_late(self, identity: str) -> None:
        line = only_problem(backed(f'{TLS}identity = "{identity}"'))
        assert line.startswith(f'backend.x.identity: "{identity}" doesn\'t go with tls = "implicit"')


class TestUse:
    def test_starttls_is_smtp(self) -> None:
        options = 'tls = "starttls"\ntls_ca = "ca.pem"'
        assert parsed(backed(options, "esmtp"))
        assert only_problem(backed(options, "esmtp", "stream")) == (
            'backend.x.tls: "starttls" is for SMTP, and this backend serves stream_listener: use "implicit"'
        )

    def test_a_check_speaks_what_the_listener_speaks(self) -> None:
        assert parsed(backed('health_check = "smtp"', "esmtp", "stream"))
        assert parsed(backed('health_check = "tcp"', "esmtp"))
        assert only_problem(backed('health_check = "http"', "esmtp")) == (
            'backend.x.health_check: "http" isn\'t what esmtp_listener speaks, which uses this backend'
        )


def test_every_problem_is_told() -> None:
    lines = problems(backed('tls = "starttls"\ntls_key = "x"\nconnect_deadline = 1', "stream"))
    assert [line.split(": ")[0] for line in lines] == [
        "backend.x.connect_deadline",
        "backend.x.tls_ca",
        "backend.x.tls_key",
        "backend.x.tls",
    ]


@pytest.mark.parametrize(
    ("option", "address", "name"),
    [
        ("", "mail.example:25", "mail.example"),
        ("", "mail.example.:25", "mail.example"),
        ("", "192.0.2.1:25", "192.0.2.1"),
        ("", "[2001:db8::1]:25", "2001:db8::1"),
        ("", "unix:/run/x", ""),
        ('tls_server_name = "mx.example."', "192.0.2.1:25", "mx.example"),
    ],
)
def test_the_name_to_verify_is_that_of_the_option_or_of_the_address(
    option: str, address: str, name: str
) -> None:
    configuration = parsed(backed(f"{TLS}tls_verify_name = false\n{option}"))
    assert server_name(configuration.backends["x"], parse_server_address(address)) == name
