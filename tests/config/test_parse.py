"""Files to configurations, and to all that is wrong with them."""

import os
from pathlib import Path
from typing import cast

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.config.documents import (
    BACKEND,
    LISTENER,
    PEER_OF_LISTEN,
    PEER_OF_LISTENER,
    SOURCE,
    another_listener,
    only_problem,
    parsed,
    problems,
    valid,
    warnings,
)
from tlsproxy.config import parse as module
from tlsproxy.config.addresses import TcpAddress, UnixAddress
from tlsproxy.config.backend import Server
from tlsproxy.config.declaration import Declaration
from tlsproxy.config.model import LogFormat
from tlsproxy.config.networks import parse_network
from tlsproxy.config.parse import load, load_draft, parse, parse_draft
from tlsproxy.config.settings import Settings, VerifyMode
from tlsproxy.config.tables import LISTEN, OPTIONS, TOP
from tlsproxy.config.toml_text import toml_text
from tlsproxy.errors import ConfigurationError
from tlsproxy.policy.handshakes import RenegotiationAction
from tlsproxy.policy.protocols import TlsProtocols

EVERYTHING = """
log_format = "json"
metrics_listen = "127.0.0.1:9105"
status_listen = 9466
tls_certificate = "mx.pem"
tls_key = ["mx.key"]

[backend.injector]
servers = ["127.0.0.1:2525"]
connect_timeout = 2

[pathway.scanners]
tls_protocols = ">=TLSv1, <=TLSv1.2"

[pathway_group.legacy]
tls_renegotiation_action = "warn"
[pathway_group.legacy.pathway.copiers]
tls_ciphers = "DEFAULT"

[[stream_listener]]
backend = "injector"
idle_timeout = 60
  [[stream_listener.peer]]
  network = "2001:db8::/32"
  pathway = "copiers"
  [[stream_listener.listen]]
  address = "192.0.2.1:1825"
  tls_verify_mode = "optional"
    [[stream_listener.listen.peer]]
    network = "10.3.0.0/16"
    pathway = "scanners"
    [[stream_listener.listen.peer]]
    network = "10.4.0.1"
    tls_allow_renegotiation = true
  [[stream_listener.listen]]
  address = "unix:/run/tlsproxy/stream.sock"
  unix_mode = "0600"
  pathway = "scanners"
"""


SINGLE = "can be there more than once: write [[{0}]] instead of [{0}]"

TABLES = ("backend", "pathway", "pathway_group", "stream_listener", "listen", "peer")
keys = st.sampled_from((*TABLES, "servers", "address", "network", "tls_key", "idle_timeout", "x"))
words = st.sampled_from(["x", "127.0.0.1:25", "10.0.0.0/8", "injector"])
documents = st.dictionaries(
    keys,
    st.recursive(
        st.booleans() | st.integers(-5, 5) | words,
        lambda below: st.lists(below, max_size=2) | st.dictionaries(keys, below, max_size=4),
        max_leaves=12,
    ),
)


class TestModel:
    """What a valid file becomes."""

    def test_the_global_scope(self) -> None:
        configuration = parsed(EVERYTHING)
        assert configuration.source == SOURCE
        assert configuration.path == ""
        assert configuration.log_format is LogFormat.JSON
        assert configuration.metrics_listen == TcpAddress("127.0.0.1", 9105)
        assert configuration.status_listen == TcpAddress("127.0.0.1", 9466)
        assert configuration.options == {
            "tls_certificate": ("/etc/tlsproxy/mx.pem",),
            "tls_key": ("/etc/tlsproxy/mx.key",),
        }
        assert configuration.warnings == ()

    def test_backends(self) -> None:
        (backend,) = parsed(EVERYTHING).backends.values()
        assert (backend.name, backend.path) == ("injector", "backend.injector")
        assert backend.servers == (Server(address=TcpAddress("127.0.0.1", 2525)),)
        assert backend.connect_timeout == 2.0

    def test_pathways_and_groups(self) -> None:
        configuration = parsed(EVERYTHING)
        scanners, copiers = configuration.pathways.values()
        assert (scanners.name, scanners.group, scanners.path) == ("scanners", None, "pathway.scanners")
        assert scanners.options == {"tls_protocols": TlsProtocols.parse(">=TLSv1, <=TLSv1.2")}
        assert (copiers.name, copiers.group) == ("copiers", "legacy")
        assert copiers.path == "pathway_group.legacy.pathway.copiers"
        assert copiers.options == {"tls_ciphers": "DEFAULT"}
        (group,) = configuration.pathway_groups.values()
        assert (group.name, group.path) == ("legacy", "pathway_group.legacy")
        assert group.options == {"tls_renegotiation_action": RenegotiationAction.WARN}

    def test_listeners_listens_and_peers(self) -> None:
        (listener,) = parsed(EVERYTHING).listeners
        assert (listener.kind, listener.backend, listener.path) == (
            "stream",
            "injector",
            "stream_listener[0]",
        )
        assert listener.options == {"idle_timeout": 60.0}
        (peer,) = listener.peers
        assert (peer.network, peer.pathway) == (parse_network("2001:db8::/32"), "copiers")
        assert peer.path == "stream_listener[0].peer[0]"
        tcp, unix = listener.listens
        assert (tcp.address, tcp.path) == (TcpAddress("192.0.2.1", 1825), "stream_listener[0].listen[0]")
        assert tcp.options == {"tls_verify_mode": VerifyMode.OPTIONAL}
        assert tcp.unix_mode == 0o660
        assert [peer.pathway for peer in tcp.peers] == ["scanners", None]
        assert tcp.peers[1].path == "stream_listener[0].listen[0].peer[1]"
        assert tcp.peers[1].options == {"tls_allow_renegotiation": True}
        assert (unix.address, unix.unix_mode) == (UnixAddress("/run/tlsproxy/stream.sock"), 0o600)
        assert (unix.pathway, unix.peers) == ("scanners", ())

    def test_defaults(self) -> None:
        configuration = valid("")
        assert configuration.log_format is LogFormat.TEXT
        assert configuration.metrics_listen is None
        assert configuration.backends["injector"].connect_timeout == 5.0
        assert configuration.options == {}
        assert Settings(**configuration.options) == Settings()

    def test_files_are_relative_to_the_configuration_wherever_the_process_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        configuration = parse(f'tls_client_ca = "ca.pem"\n{BACKEND}{LISTENER}', "etc/tlsproxy.toml")
        assert configuration.options["tls_client_ca"] == str(tmp_path / "etc" / "ca.pem")
        assert configuration.source == "etc/tlsproxy.toml"

    def test_credentials_are_where_systemd_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
        assert valid('tls_key = "credential:mx"').listeners[0].listens[0].options == {
            "tls_key": ("/run/credentials/x/mx",)
        }
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        assert "stream_listener[0].listen[0].tls_key: " in only_problem(
            BACKEND + LISTENER + 'tls_key = "credential:mx"'
        )


class TestEveryProblem:
    """Whatever is wrong is told at once, at its key path."""

    def test_all_at_once(self) -> None:
        text = """
            idle_timeout = 0
            tls_allow_renegotiation = 1
            zebra = 1
            [backend.a]
            servers = ["x", "y"]
            [[stream_listener]]
            backend = "b"
            [[stream_listener.listen]]
            address = "*:25"
            pathway = "p"
            [[stream_listener.listen.peer]]
            network = "10.3.7.9/16"
            pathway = "p"
            [[stream_listener]]
            [[stream_listener.listen]]
            tls_key = [1]
        """
        assert [line.split(": ")[0] for line in problems(text)] == [
            "idle_timeout",
            "tls_allow_renegotiation",
            "zebra",
            "backend.a.servers[0]",
            "backend.a.servers[1]",
            "stream_listener[0].backend",
            "stream_listener[0].listen[0].address",
            "stream_listener[0].listen[0].pathway",
            "stream_listener[0].listen[0].peer[0].network",
            "stream_listener[0].listen[0].peer[0].pathway",
            "stream_listener[1].backend",
            "stream_listener[1].listen[0].tls_key[0]",
            "stream_listener[1].listen[0].address",
        ]

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("handshake_timeout = 0", "handshake_timeout: must be a number from 0.1 to 3600 seconds, not 0"),
            (
                "handshake_timeout = 1e9",
                "handshake_timeout: must be a number from 0.1 to 3600 seconds, not 1000000000.0",
            ),
            ("handshake_timeout = nan", "handshake_timeout: must be a number, not nan"),
            (
                "tls_renegotiation_limit = -1",
                "tls_renegotiation_limit: must be a number from 0 to 1000, not -1",
            ),
            ("tls_renegotiation_limit = true", "tls_renegotiation_limit: must be a whole number, not true"),
            ('idle_timeout = "60"', 'idle_timeout: must be a number, not "60"'),
            ('tls_allow_renegotiation = "no"', 'tls_allow_renegotiation: must be true or false, not "no"'),
            ("tls_ciphers = 5", "tls_ciphers: must be a string, not 5"),
            (
                'tls_verify_mode = "required"',
                'tls_verify_mode: must be "none", "optional" or "require", not "required" (did you mean "require"?)',
            ),
            (
                'tls_cipher = "x"',
                'tls_cipher: isn\'t a key that is valid in [[KIND_listener.listen]] (did you mean "tls_ciphers"?)',
            ),
        ],
    )
    def test_options_are_checked_in_every_scope(self, option: str, message: str) -> None:
        assert only_problem(BACKEND + LISTENER + option) == f"stream_listener[0].listen[0].{message}"

    def test_numbers_may_lie_on_the_bounds(self) -> None:
        options = valid("handshake_timeout = 0.1\nidle_timeout = 604800").listeners[0].listens[0].options
        assert options == {"handshake_timeout": 0.1, "idle_timeout": 604800.0}

    def test_an_option_of_other_kinds_is_refused_where_the_kind_is_known(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        foreign = evolve(OPTIONS["idle_timeout"], kinds=frozenset({"http", "esmtp"}))
        for table in (LISTEN, TOP):
            monkeypatch.setitem(cast("dict[str, Declaration]", table.keys), "idle_timeout", foreign)
        assert only_problem(f"idle_timeout = 5\n{BACKEND}{LISTENER}idle_timeout = 5") == (
            "stream_listener[0].listen[0].idle_timeout: "
            "has no meaning in a stream_listener, it is an option of: esmtp, http"
        )


class TestListeners:
    """Listeners, listens and peers."""

    def test_a_file_without_a_listener_is_refused(self) -> None:
        line = only_problem(BACKEND)
        assert line.startswith("there is no listener: at least one is needed, ")
        assert "[[stream_listener]]" in line

    @pytest.mark.parametrize("listen", ["", "listen = []"])
    def test_a_listener_needs_a_listen(self, listen: str) -> None:
        assert only_problem(f'{BACKEND}[[stream_listener]]\nbackend = "injector"\n{listen}') == (
            "stream_listener[0].listen: is missing: a listener needs at least one [[stream_listener.listen]]"
        )

    def test_a_listener_needs_a_backend(self) -> None:
        assert only_problem('[[stream_listener]]\n[[stream_listener.listen]]\naddress = "192.0.2.1:25"') == (
            "stream_listener[0].backend: must be given: Name of the backend that serves the sessions."
        )

    @pytest.mark.parametrize(
        ("backends", "name", "message"),
        [
            (BACKEND, "injecter", '"injecter" is no backend (did you mean "injector"?)'),
            (BACKEND, "zebra", '"zebra" is no backend: there is "injector"'),
            (BACKEND, "", '"" is no backend: there is "injector"'),
            ("", "zebra", '"zebra" is no backend: there is none, write [backend.NAME]'),
        ],
    )
    def test_a_backend_has_to_be_there(self, backends: str, name: str, message: str) -> None:
        listener = LISTENER.replace('backend = "injector"', f'backend = "{name}"')
        assert only_problem(backends + listener) == f"stream_listener[0].backend: {message}"

    @pytest.mark.parametrize(
        ("listener", "message"),
        [
            (
                "[stream_listener]",
                f"stream_listener: {SINGLE.format('stream_listener')}",
            ),
            (
                "stream_listener = 5",
                "stream_listener: must be a table of its own: [[stream_listener]], not 5",
            ),
            (
                "stream_listener = [5]",
                "stream_listener: must be a table of its own: [[stream_listener]], not [5]",
            ),
            (
                '[[stream_listener]]\nlisten = "192.0.2.1:25"',
                'stream_listener[0].listen: must be a table of its own: [[stream_listener.listen]], not "192.0.2.1:25"',
            ),
            (
                "[[stream_listener]]\n[stream_listener.listen]",
                f"stream_listener[0].listen: {SINGLE.format('stream_listener.listen')}",
            ),
        ],
    )
    def test_tables_of_another_shape_are_explained(self, listener: str, message: str) -> None:
        assert message in problems(listener)

    def test_what_is_inside_a_table_of_another_shape_is_checked_as_well(self) -> None:
        assert "stream_listener[0].zebra: " in "\n".join(problems("[stream_listener]\nzebra = 1"))

    def test_unix_mode_is_for_unix_sockets(self) -> None:
        assert only_problem(BACKEND + LISTENER + 'unix_mode = "0660"') == (
            'stream_listener[0].listen[0].unix_mode: is valid with an address "unix:/path" alone, not with "192.0.2.1:1825"'
        )

    @pytest.mark.parametrize("second", ["10.3.0.0/16", "::ffff:10.3.0.0/112"])
    def test_a_network_is_in_a_list_of_peers_once(self, second: str) -> None:
        peers = "".join(
            f'[[stream_listener.listen.peer]]\nnetwork = "{network}"\n'
            for network in ("10.3.0.0/16", "10.0.0.0/8", second)
        )
        assert only_problem(BACKEND + LISTENER + peers) == (
            "stream_listener[0].listen[0].peer[2].network: 10.3.0.0/16 is the network of "
            "stream_listener[0].listen[0].peer[0] as well: keep one of them"
        )

    def test_a_network_may_be_in_the_lists_of_a_listener_and_a_listen(self) -> None:
        peers = '[[stream_listener.listen.peer]]\nnetwork = "10.0.0.0/8"\n[[stream_listener.peer]]\nnetwork = "10.0.0.0/8"'
        assert valid(peers).listeners[0].peers[0].network == parse_network("10.0.0.0/8")

    def test_a_peer_needs_a_network(self) -> None:
        assert only_problem(BACKEND + LISTENER + "[[stream_listener.listen.peer]]").startswith(
            "stream_listener[0].listen[0].peer[0].network: must be given: Client network"
        )

    def test_a_peer_of_a_unix_socket_has_no_effect(self) -> None:
        listener = LISTENER.replace("192.0.2.1:1825", "unix:/run/x")
        assert warnings(BACKEND + listener + '[[stream_listener.listen.peer]]\nnetwork = "10.0.0.0/8"') == [
            "stream_listener[0].listen[0].peer[0]: has no effect: a client on unix:/run/x has no IP address"
        ]


class TestPathways:
    """Pathways, their groups, and where they are attached."""

    @pytest.mark.parametrize(
        "attached",
        [
            LISTENER + 'pathway = "scaners"',
            LISTENER + PEER_OF_LISTEN + 'pathway = "scaners"',
            LISTENER + PEER_OF_LISTENER + 'pathway = "scaners"',
            another_listener('pathway = "scaners"'),
        ],
        ids=["listen", "peer of a listen", "peer of a listener", "listener"],
    )
    def test_a_pathway_that_is_attached_has_to_be_there(self, attached: str) -> None:
        line = only_problem(f"{BACKEND}[pathway.scanners]\n{attached}")
        assert line.endswith('.pathway: "scaners" is no pathway (did you mean "scanners"?)')

    def test_without_any_pathway_the_message_says_how_one_is_written(self) -> None:
        assert only_problem(BACKEND + LISTENER + 'pathway = "x"').endswith(
            '"x" is no pathway: there is none, write [pathway.NAME]'
        )

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            ("[pathway_group.g]", '"g" is a pathway group, which can\'t be attached, and has none'),
            (
                "[pathway_group.g.pathway.a]\n[pathway_group.g.pathway.b]\n[pathway.c]",
                '"g" is a pathway group, which can\'t be attached: attach one of its pathways, "a" or "b"',
            ),
        ],
    )
    def test_a_group_is_not_attached(self, group: str, message: str) -> None:
        assert only_problem(f'{BACKEND}{group}\n{LISTENER}pathway = "g"').endswith(
            f"listen[0].pathway: {message}"
        )

    @pytest.mark.parametrize("first", ["[pathway.x]", "[pathway_group.h.pathway.x]"])
    def test_the_name_of_a_pathway_is_unique_whatever_its_group(self, first: str) -> None:
        path = first.strip("[]")
        assert only_problem(f"{first}\n[pathway_group.z.pathway.x]\n{BACKEND}{LISTENER}") == (
            f"pathway_group.z.pathway.x: has the name of {path}: a pathway's name must be unique"
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("pathway = 5", "pathway: must be tables with names: [pathway.NAME], not 5"),
            (
                '[pathway]\ntls_ciphers = "x"',
                "pathway.tls_ciphers: must be in a table with a name: [pathway.NAME]",
            ),
            ("[[backend]]", "backend: must be tables with names: [backend.NAME], not [{}]"),
            (
                '[backend]\nservers = "127.0.0.1:25"',
                "backend.servers: must be in a table with a name: [backend.NAME]",
            ),
            (
                "[pathway_group.g]\npathway = 5",
                "pathway_group.g.pathway: must be tables with names: [pathway_group.g.pathway.NAME], not 5",
            ),
        ],
    )
    def test_tables_without_a_name_are_explained(self, text: str, message: str) -> None:
        assert message in problems(text)

    @pytest.mark.parametrize("name", ['""', '" x"', '"a\\nb"', '"' + "x" * 65 + '"'])
    def test_names_are_fit_for_a_line_of_a_log(self, name: str) -> None:
        assert "must have a name of 1 to 64 printable characters" in only_problem(
            f"[pathway.{name}]\n{BACKEND}{LISTENER}"
        )


class TestBackends:
    """Backends."""

    def test_an_empty_list_is_no_server(self) -> None:
        assert only_problem(f"[backend.injector]\nservers = []\n{LISTENER}") == (
            "backend.injector.servers: must name at least one server"
        )

    def test_servers_may_have_weights(self) -> None:
        servers = '["mail:25", {address = "unix:run/x", weight = 3}]'
        policy = 'policy = "round_robin"'
        configuration = parsed(f"[backend.injector]\nservers = {servers}\n{policy}\n{LISTENER}")
        assert configuration.backends["injector"].servers == (
            Server(address=TcpAddress("mail", 25), weight=1),
            Server(address=UnixAddress("/etc/tlsproxy/run/x"), weight=3),
        )

    def test_what_only_follows_from_a_slip_is_not_told(self) -> None:
        text = f'{BACKEND}tls = "startls"\ntls_ca = "ca.pem"\n{LISTENER}'
        assert only_problem(text).startswith("backend.injector.tls: must be ")

    def test_one_server_needs_no_list(self) -> None:
        configuration = parsed(f'[backend.injector]\nservers = "unix:/run/x"\n{LISTENER}')
        assert configuration.backends["injector"].servers == (Server(address=UnixAddress("/run/x")),)

    def test_a_backend_needs_servers(self) -> None:
        assert only_problem(f"[backend.injector]\n{LISTENER}").startswith(
            "backend.injector.servers: must be given: Address"
        )

    def test_the_time_to_connect_has_bounds(self) -> None:
        assert only_problem(f"{BACKEND}connect_timeout = 0\n{LISTENER}") == (
            "backend.injector.connect_timeout: must be a number from 0.1 to 600 seconds, not 0"
        )


class TestWarnings:
    """What is valid, but may not do what its author thinks."""

    def test_protocols_warn_at_their_key_path(self) -> None:
        (warning,) = warnings(BACKEND + LISTENER + 'tls_protocols = ">=TLSv1.2, <=0305"')
        assert warning.startswith("stream_listener[0].listen[0].tls_protocols: '<=0305' sets no bound")


class TestDraft:
    """What stands of a file that isn't valid."""

    def test_what_is_valid_stands(self) -> None:
        draft = parse_draft(f"idle_timeout = 0\nclose_timeout = 1\n{BACKEND}{LISTENER}", SOURCE)
        assert len(draft.problems) == 1
        assert draft.configuration.options == {"close_timeout": 1.0}
        with pytest.raises(ConfigurationError):
            draft.finished()

    @pytest.mark.parametrize(
        ("text", "tainted"),
        [
            ("", set()),
            ("idle_timeout = 0", {"stream_listener[0].listen[0]"}),
            ("zebra = 0", {"stream_listener[0].listen[0]"}),
            ('pathway = "x"', {"stream_listener[0].listen[0]"}),
            ("pathway = 5", {"stream_listener[0].listen[0]"}),
            ('unix_mode = "x"', set()),
            ('[pathway.x]\ntls_cipher = ""', {"pathway.x"}),
        ],
    )
    def test_a_scope_that_lost_an_option_is_known(self, text: str, tainted: set[str]) -> None:
        assert parse_draft(BACKEND + LISTENER + text, SOURCE).tainted == tainted


class TestFiles:
    """Files that can't be read, or aren't TOML."""

    def test_a_file_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "tlsproxy.toml"
        path.write_text(f'tls_client_ca = "ca.pem"\n{BACKEND}{LISTENER}')
        assert load(path).source == str(path)
        assert load(str(path)).options == {"tls_client_ca": str(tmp_path / "ca.pem")}

    def test_a_byte_order_mark_and_carriage_returns_are_no_harm(self, tmp_path: Path) -> None:
        path = tmp_path / "tlsproxy.toml"
        path.write_bytes(b"\xef\xbb\xbf" + (BACKEND + LISTENER).replace("\n", "\r\n").encode())
        assert load_draft(path).problems == ()

    def test_a_missing_file_is_told_by_its_name(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigurationError, match=r"can't read .*missing\.toml: No such file or directory"
        ):
            load(tmp_path / "missing.toml")

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="Is a directory"):
            load(tmp_path)

    def test_a_file_without_end_is_not_read_to_it(self) -> None:
        with pytest.raises(ConfigurationError, match=r"/dev/zero is larger than 16777216 bytes"):
            load(os.devnull.replace("null", "zero"))

    def test_the_largest_file_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "tlsproxy.toml"
        content = BACKEND + LISTENER
        path.write_text(content)
        monkeypatch.setattr(module, "MAX_FILE", len(content))
        assert load_draft(path).problems == ()

    def test_what_is_not_utf8_is_told_by_its_line(self, tmp_path: Path) -> None:
        path = tmp_path / "tlsproxy.toml"
        path.write_bytes(b"# \n# caf\xe9\n")
        with pytest.raises(ConfigurationError, match="line 2: must be UTF-8, and has the byte 0xe9"):
            load(path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "a = 1\ntls_protocols = TLSv1.2",
                "line 2, column 17: Invalid value, in: tls_protocols = TLSv1.2",
            ),
            ("a = 1\n\nb = [", "line 3, at the end of the file: Invalid value"),
            ("a = 1\na = 2", "line 2, at the end of the file: Cannot overwrite a value"),
            ("a = 1\nb", "line 2, at the end of the file: Expected '=' after a key in a key/value pair"),
            ("a = " + "[" * 100_000, "arrays or tables are nested too deeply"),
            ("a = " + "1" * 5000, "isn't TOML: Exceeds the limit"),
            ('a = "' + "x" * 200 + '" b', 'in: a = "' + "x" * 75),
        ],
    )
    def test_what_is_not_toml_is_told_by_line_and_column(self, text: str, message: str) -> None:
        assert message in only_problem(text)

    @given(st.text(), st.sampled_from(["", BACKEND + LISTENER]))
    def test_any_text_is_a_configuration_or_its_problems(self, text: str, rest: str) -> None:
        try:
            configuration = parse(text + rest, SOURCE)
        except ConfigurationError as error:
            assert all(problem.message for problem in error.problems)  # noqa: PT017 - either way is right
        else:
            assert configuration.listeners

    @given(documents)
    def test_tables_of_any_shape_make_problems_and_nothing_worse(self, document: dict[str, object]) -> None:
        text = "\n".join(f"{key} = {toml_text(value)}" for key, value in document.items())
        draft = parse_draft(text, SOURCE)
        assert all(problem.message for problem in (*draft.problems, *draft.configuration.warnings))
