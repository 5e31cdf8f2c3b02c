"""What is said about a key that a table doesn't take."""

import pytest

from tlsproxy.config.suggest import alternatives
from tlsproxy.config.tables import (
    BACKEND,
    GROUP,
    LISTEN,
    LISTENER,
    OPTIONS,
    PATHWAY,
    PEER,
    TOP,
    Table,
    is_table,
)
from tlsproxy.fronts import KINDS

PEERS = "in [[KIND_listener.peer]] or [[KIND_listener.listen.peer]]"

EVERY_KIND = alternatives((f"[[{kind}_listener]]" for kind in KINDS), "and")
SESSION_OPTION = (
    f"it is an option of sessions, and belongs {TOP.where}, or in a pathway, listener, listen or peer"
)
OPTIONS_TOO = "the options of sessions"


@pytest.mark.parametrize(
    ("table", "key", "value", "message"),
    [
        (
            TOP,
            "stream_listner",
            [{}],
            'isn\'t a key that is valid at the top of the file (did you mean "stream_listener"?)',
        ),
        (TOP, "xyz_listener", [{}], f"is no kind of listener; there is {EVERY_KIND}"),
        (
            TOP,
            "streams_listener",
            [{}],
            f'is no kind of listener; there is {EVERY_KIND} (did you mean "stream_listener"?)',
        ),
        (TOP, "servers", [], "isn't valid at the top of the file: it belongs in [backend.NAME]"),
        (TOP, "listen", [{}], "isn't valid at the top of the file: it belongs in [[KIND_listener]]"),
        (
            LISTENER,
            "log_format",
            "json",
            "isn't valid in [[KIND_listener]]: it belongs at the top of the file",
        ),
        (
            LISTENER,
            "address",
            "x",
            "isn't valid in [[KIND_listener]]: it belongs in [[KIND_listener.listen]]",
        ),
        (LISTENER, "network", "x", f"isn't valid in [[KIND_listener]]: it belongs {PEERS}"),
        (
            PATHWAY,
            "pathway",
            "x",
            f"isn't valid in [pathway.NAME]: it belongs in [[KIND_listener]], in [[KIND_listener.listen]] or {PEERS}",
        ),
        (
            PATHWAY,
            "pathway",
            {},
            "isn't valid in [pathway.NAME]: it belongs at the top of the file or in [pathway_group.NAME]",
        ),
        (LISTEN, "backend", "x", "isn't valid in [[KIND_listener.listen]]: it belongs in [[KIND_listener]]"),
        (
            BACKEND,
            "tls_verify_mode",
            "x",
            f"isn't valid in [backend.NAME]: {SESSION_OPTION}",
        ),
        (PEER, "tls-ciphers", "x", f'isn\'t a key that is valid {PEERS} (did you mean "tls_ciphers"?)'),
        (
            PEER,
            "adress",
            "x",
            f'isn\'t a key that is valid {PEERS} (did you mean "address", which belongs in [[KIND_listener.listen]]?)',
        ),
        (
            BACKEND,
            "zebra",
            1,
            f"isn't a key that is valid in [backend.NAME]; valid are {alternatives(BACKEND.own, 'and')}",
        ),
        (
            LISTENER,
            "zebra",
            1,
            f"isn't a key that is valid in [[KIND_listener]]; valid are pathway, backend, listen, peer and {OPTIONS_TOO}",
        ),
    ],
)
def test_an_unknown_key_is_explained(table: Table, key: str, value: object, message: str) -> None:
    assert table.why_unknown(key, value) == message


@pytest.mark.parametrize("table", [TOP, GROUP, PATHWAY, LISTENER, LISTEN, PEER])
def test_every_scope_takes_every_option(table: Table) -> None:
    assert OPTIONS.items() <= table.keys.items()


def test_a_backend_takes_no_option_of_sessions() -> None:
    """Its ``tls_`` keys have the names of options, and are its own: about the servers, not the clients."""
    assert BACKEND.keys == BACKEND.own
    assert all(name.startswith("tls_") for name in OPTIONS.keys() & BACKEND.own.keys())


def test_no_key_of_a_scope_has_the_name_of_an_option() -> None:
    for table in (TOP, GROUP, PATHWAY, LISTENER, LISTEN, PEER):
        assert not OPTIONS.keys() & {*table.own, *table.tables}


def test_tables_are_told_from_values() -> None:
    assert is_table({})
    assert not is_table([])
