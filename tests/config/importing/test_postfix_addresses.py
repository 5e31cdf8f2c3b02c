"""Where a Postfix service listens."""

import pytest

from tests.config.importing.postfix_world import parameters
from tlsproxy.config.importing.options import Options
from tlsproxy.config.importing.postfix_addresses import place_of
from tlsproxy.config.importing.postfix_files import Service


def place(name: str, main: str = "") -> tuple[list[str] | None, bool, str]:
    options = Options()
    found = place_of(Service(name, "inet", "smtpd", {}, "master.cf line 1"), parameters(main), options)
    addresses = [str(address) for address in found.addresses] if found is not None else None
    return addresses, found is not None and found.loopback, " ".join(map(str, options.remarks))


@pytest.mark.parametrize(
    ("name", "main", "addresses"),
    [
        ("smtp", "", ["0.0.0.0:25", "[::]:25"]),
        ("submission", "inet_protocols = ipv4", ["0.0.0.0:587"]),
        ("465", "inet_protocols = ipv6", ["[::]:465"]),
        ("smtps", "inet_interfaces = loopback-only", ["127.0.0.1:465", "[::1]:465"]),
        (
            "25",
            "inet_interfaces = 192.0.2.1, [2001:db8::1], localhost",
            ["192.0.2.1:25", "[2001:db8::1]:25", "127.0.0.1:25", "[::1]:25"],
        ),
        ("25", "inet_interfaces = 192.0.2.1 2001:db8::1\ninet_protocols = ipv4", ["192.0.2.1:25"]),
        ("192.0.2.1:smtp", "", ["192.0.2.1:25"]),
        ("[2001:db8::1]:submission", "", ["[2001:db8::1]:587"]),
        (
            "25",
            "inet_interfaces = $myhostname, localhost\nmyhostname = mx.example.org\ninet_protocols = ipv4",
            ["127.0.0.1:25"],
        ),
    ],
)
def test_a_service_listens_on_interfaces_of_its_protocols(name: str, main: str, addresses: list[str]) -> None:
    assert place(name, main)[0] == addresses


@pytest.mark.parametrize(
    ("name", "bound"),
    [("127.0.0.1:10025", True), ("localhost:10025", True), ("25", False), ("192.0.2.1:25", False)],
)
def test_a_service_bound_to_loopback_is_known(name: str, bound: bool) -> None:
    assert place(name)[1] is bound


@pytest.mark.parametrize("name", ["nonsense", "0", "65536", "", "25x"])
def test_a_port_that_is_not_known_is_told(name: str) -> None:
    addresses, _, remarks = place(name)
    assert addresses is None
    assert "write its number" in remarks


def test_a_name_leaves_a_place_to_fill_in() -> None:
    addresses, _, remarks = place("mx.example.org:25")
    assert addresses == ["127.0.0.1:25"]
    assert "put the address to listen on" in remarks


def test_protocols_that_are_none_are_told() -> None:
    given = parameters("inet_protocols = ipx")
    options = Options()
    found = place_of(Service("25", "inet", "smtpd", {}, ""), given, options)
    assert found is not None
    assert len(found.addresses) == 2
    assert "is none of all, ipv4, ipv6" in str(given.remarks[0])
