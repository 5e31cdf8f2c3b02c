"""What can only be seen on the configuration as a whole."""

import pytest

from tests.config.documents import (
    BACKEND,
    PEER_OF_LISTEN,
    PEER_OF_LISTENER,
    another_listener,
    only_problem,
    parsed,
    problems,
    warnings,
)


def listening(*addresses: str, backend: str = BACKEND, top: str = "") -> str:
    """A file with a listener for each address."""
    return f"{top}\n{backend}\n" + "\n".join(
        f'[[stream_listener]]\nbackend = "injector"\n[[stream_listener.listen]]\naddress = "{address}"'
        for address in addresses
    )


class TestAddresses:
    """Addresses that can't be listened on together."""

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("192.0.2.1:25", "192.0.2.1:025"),
            ("[2001:db8::1]:25", "[2001:db8:0::1]:25"),
            ("unix:/run/x", "unix:/run//x"),
            ("systemd:x", "systemd:x"),
        ],
    )
    def test_an_address_is_listened_on_once(self, first: str, second: str) -> None:
        line = only_problem(listening(first, second))
        assert line.startswith("stream_listener[1].listen[0].address: ")
        assert line.endswith(
            " is the address of stream_listener[0].listen[0].address as well: each can be listened on once"
        )

    @pytest.mark.parametrize("option", ["metrics_listen", "status_listen"])
    def test_metrics_and_status_need_addresses_of_their_own(self, option: str) -> None:
        assert only_problem(listening("127.0.0.1:9105", top=f'{option} = "127.0.0.1:9105"')) == (
            f"{option}: 127.0.0.1:9105 is the address of stream_listener[0].listen[0].address as well: "
            "each can be listened on once"
        )

    @pytest.mark.parametrize("addresses", [("0.0.0.0:25", "192.0.2.1:25"), ("192.0.2.1:25", "0.0.0.0:25")])
    def test_a_wildcard_holds_every_address_of_its_family(self, addresses: tuple[str, str]) -> None:
        specific, wildcard = (addresses.index(address) for address in ("192.0.2.1:25", "0.0.0.0:25"))
        assert only_problem(listening(*addresses)) == (
            f"stream_listener[{specific}].listen[0].address: 192.0.2.1:25 is part of 0.0.0.0:25, "
            f"which stream_listener[{wildcard}].listen[0].address listens on: keep one of them"
        )

    def test_an_ipv6_wildcard_holds_ipv6_addresses(self) -> None:
        assert "[2001:db8::1]:25 is part of [::]:25" in only_problem(listening("[2001:db8::1]:25", "[::]:25"))

    def test_addresses_that_differ_go_together(self) -> None:
        addresses = (
            "0.0.0.0:25",
            "[::]:25",
            "192.0.2.1:26",
            "127.0.0.1:0",
            "127.0.0.1:0",
            "unix:/a",
            "systemd:a",
        )
        assert [listener.listens[0].address for listener in parsed(listening(*addresses)).listeners]


class TestLoops:
    """Backends that are tlsproxy itself."""

    @pytest.mark.parametrize(
        ("server", "listen"),
        [
            ("127.0.0.1:25", "127.0.0.1:25"),
            ("127.0.0.1:25", "0.0.0.0:25"),
            ("127.8.0.1:25", "0.0.0.0:25"),
            ("localhost:25", "0.0.0.0:25"),
            ("localhost:25", "[::]:25"),
            ("[::1]:25", "[::]:25"),
            ("192.0.2.1:25", "192.0.2.1:25"),
            ("unix:/run/x", "unix:/run/x"),
        ],
    )
    def test_a_backend_is_not_the_proxy_itself(self, server: str, listen: str) -> None:
        assert only_problem(listening(listen, backend=f'[backend.injector]\nservers = "{server}"')) == (
            f"backend.injector.servers[0]: {server} is tlsproxy itself, which listens on {listen} "
            "(stream_listener[0].listen[0].address): every session would come back to it"
        )

    @pytest.mark.parametrize(
        ("server", "listen"),
        [
            ("127.0.0.1:26", "0.0.0.0:25"),
            ("192.0.2.2:25", "192.0.2.1:25"),
            ("mail:25", "0.0.0.0:25"),
            ("127.0.0.1:25", "192.0.2.1:25"),
        ],
    )
    def test_another_address_is_no_loop(self, server: str, listen: str) -> None:
        assert parsed(listening(listen, backend=f'[backend.injector]\nservers = "{server}"'))

    def test_every_address_that_comes_back_is_told(self) -> None:
        text = listening("0.0.0.0:25", "[::]:25", backend='[backend.injector]\nservers = "localhost:25"')
        assert len(problems(text)) == 2


class TestUse:
    """What is defined and never used."""

    def test_a_backend_that_no_listener_names(self) -> None:
        text = listening("192.0.2.1:25") + '\n[backend.spare]\nservers = "192.0.2.9:25"'
        assert warnings(text) == ["backend.spare: is never used: no listener names this backend"]

    def test_a_pathway_that_nothing_names(self) -> None:
        assert warnings(listening("192.0.2.1:25") + "\n[pathway.x]\n[pathway_group.g.pathway.y]") == [
            "pathway.x: is never used: no listener, listen or peer names this pathway",
            "pathway_group.g.pathway.y: is never used: no listener, listen or peer names this pathway",
        ]

    def test_a_group_without_a_pathway(self) -> None:
        assert warnings(listening("192.0.2.1:25") + "\n[pathway_group.g]") == [
            "pathway_group.g: is never used: no pathway is in this group"
        ]

    @pytest.mark.parametrize(
        "use",
        [
            'pathway = "x"',
            f'{PEER_OF_LISTEN}pathway = "x"',
            f'{PEER_OF_LISTENER}pathway = "x"',
            another_listener('pathway = "x"'),
        ],
        ids=["listen", "peer of a listen", "peer of a listener", "listener"],
    )
    def test_a_pathway_is_used_wherever_it_is_attached(self, use: str) -> None:
        assert warnings(f"[pathway.x]\n{listening('192.0.2.1:25')}\n{use}") == []


def mail(backend: str, kind: str = "esmtp") -> str:
    """A listener of ``kind`` in front of a server with these lines in its table."""
    return (
        f'[backend.mta]\n{backend}\n[[{kind}_listener]]\nbackend = "mta"\n'
        f'[[{kind}_listener.listen]]\naddress = "192.0.2.1:25"'
    )


class TestIdentity:
    """What a backend is told of its clients."""

    @pytest.mark.parametrize(
        ("backend", "address"),
        [
            ('servers = ["127.0.0.1:2525"]', "127.0.0.1"),
            ('servers = ["[::1]:2525"]', "::1"),
            ('servers = ["192.0.2.9:2525"]', "this machine's address"),
            ('servers = ["127.0.0.1:2525"]\nsource_address = "127.0.0.9"', "127.0.0.9"),
        ],
    )
    def test_a_mail_server_that_knows_no_client_may_be_an_open_relay(
        self, backend: str, address: str
    ) -> None:
        (warning,) = warnings(mail(backend))
        assert warning.startswith(
            f'backend.mta.identity: "none": to this server every client on the Internet comes from {address}.'
        )
        assert "OPEN RELAY" in warning

    @pytest.mark.parametrize("identity", ["none", "trace_header"])
    def test_an_address_of_its_own_is_the_way_out(self, identity: str) -> None:
        backend = f'servers = ["192.0.2.9:25"]\nidentity = "{identity}"\nsource_address = "192.0.2.77"'
        assert warnings(mail(backend)) == []

    def test_a_field_in_the_message_is_too_late_for_a_server_s_rules(self) -> None:
        (warning,) = warnings(mail('servers = ["127.0.0.1:2525"]\nidentity = "trace_header"'))
        assert warning.startswith('backend.mta.identity: "trace_header": to this server every client')
        assert "OPEN RELAY" in warning

    @pytest.mark.parametrize("identity", ["proxy_v1", "proxy_v2", "xclient", "transparent"])
    def test_a_mail_server_can_be_told_in_other_ways(self, identity: str) -> None:
        assert warnings(mail(f'servers = ["127.0.0.1:2525"]\nidentity = "{identity}"')) == []

    def test_a_stream_relays_for_nobody_that_we_know_of(self) -> None:
        assert warnings(mail('servers = ["127.0.0.1:2525"]', "stream")) == []

    @pytest.mark.parametrize("identity", ["xclient", "trace_header"])
    def test_what_is_said_in_smtp_cannot_be_said_over_a_stream(self, identity: str) -> None:
        assert only_problem(mail(f'servers = ["127.0.0.1:2525"]\nidentity = "{identity}"', "stream")) == (
            f'backend.mta.identity: "{identity}" can\'t be told over a stream_listener, which uses this backend '
            '(stream_listener[0]): there it is "none", "proxy_v1", "proxy_v2" or "transparent"'
        )
