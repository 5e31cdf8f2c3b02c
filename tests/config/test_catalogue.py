"""The keys of the configuration in words."""

import tomllib

import pytest

from tests.config.documents import SOURCE
from tlsproxy.config.backend import Backend, Server
from tlsproxy.config.catalogue import Entry, entries, value_text
from tlsproxy.config.model import Configuration, Listen, Listener, Peer
from tlsproxy.config.parse import parse_draft
from tlsproxy.config.settings import Settings
from tlsproxy.config.tables import OPTIONS


def entry(name: str, cls: type = Settings) -> Entry:
    return {each.name: each for each in entries(cls)}[name]


@pytest.mark.parametrize(
    ("cls", "name", "type_text", "default"),
    [
        (Settings, "tls_protocols", "list of protocols in a string", '">=TLSv1.2"'),
        (Settings, "tls_allow_renegotiation", "true or false", "false"),
        (Settings, "tls_renegotiation_action", '"close" or "warn"', '"close"'),
        (Settings, "tls_renegotiation_limit", "whole number from 0 to 1000", "3"),
        (Settings, "tls_verify_mode", '"none", "optional" or "require"', '"none"'),
        (Settings, "tls_certificate", "file name, or a list of them", "[]"),
        (Settings, "tls_client_ca", "file name", ""),
        (Settings, "handshake_timeout", "number from 0.1 to 3600 seconds", "10.0"),
        (Configuration, "metrics_listen", "address, or port of 127.0.0.1", ""),
        (Configuration, "log_format", '"text" or "json"', '"text"'),
        (Configuration, "log_level", '"info" or "warning"', '"info"'),
        (Configuration, "workers", '"auto" or whole number from 1 to 256', "1"),
        (Backend, "servers", "address or table, or a list of them", "required"),
        (Backend, "health_check_path", "path of a URL", '"/"'),
        (Backend, "health_check_status", "status code or range of them in a string", '"200-399"'),
        (Server, "address", "address", "required"),
        (Listener, "backend", "string", "required"),
        (Listen, "unix_mode", "octal permissions in a string", '"0660"'),
        (Peer, "network", "network", "required"),
    ],
)
def test_a_key_is_described(cls: type, name: str, type_text: str, default: str) -> None:
    described = entry(name, cls)
    assert (described.type, described.default) == (type_text, default)


def test_an_entry_has_the_documentation_unit_and_kinds_of_its_declaration() -> None:
    described = entry("idle_timeout")
    declaration = OPTIONS["idle_timeout"]
    assert (described.doc, described.unit, described.kinds) == (declaration.doc, "seconds", None)


def test_every_option_has_an_entry_in_the_order_of_the_catalogue() -> None:
    assert [each.name for each in entries()] == list(OPTIONS)


def test_every_default_is_valid_as_it_is_written() -> None:
    lines = [f"{each.name} = {each.default}" for each in entries() if each.default]
    tomllib.loads("\n".join(lines))
    draft = parse_draft("\n".join(lines), SOURCE)
    assert [problem.path for problem in draft.problems] == [""]  # it has no listener, and that is all
    assert Settings(**draft.configuration.options) == Settings()


def test_no_value_is_no_text() -> None:
    assert value_text(None) == ""
