"""The catalogue of options."""

import typing

import pytest

from tlsproxy.config.declaration import Declaration, declared
from tlsproxy.config.model import Backend, Configuration, Listen, Listener, Peer
from tlsproxy.config.settings import Settings
from tlsproxy.fronts import KINDS
from tlsproxy.policy.handshakes import HandshakePolicy, RenegotiationAction

EVERY_KEY = [
    pytest.param(declaration, id=f"{cls.__name__}.{name}")
    for cls in (Settings, Configuration, Backend, Listener, Listen, Peer)
    for name, declaration in declared(cls).items()
]


@pytest.mark.parametrize("declaration", EVERY_KEY)
def test_every_key_is_documented_in_sentences(declaration: Declaration) -> None:
    assert declaration.doc.strip() == declaration.doc
    assert declaration.doc.endswith(".")


@pytest.mark.parametrize("declaration", EVERY_KEY)
def test_every_number_has_bounds_and_its_default_is_within(declaration: Declaration) -> None:
    is_number = declaration.type in (int, float)
    assert (declaration.minimum is not None) is (declaration.maximum is not None) is is_number
    assert declaration.within_bounds(declaration.default)


@pytest.mark.parametrize("declaration", EVERY_KEY)
def test_kinds_are_those_that_there_are(declaration: Declaration) -> None:
    assert (declaration.kinds or set()) <= set(KINDS)


def test_every_field_of_settings_is_a_declared_option() -> None:
    assert list(declared(Settings)) == list(typing.get_type_hints(Settings))


def test_equal_settings_are_one_key_of_a_dictionary() -> None:
    assert {Settings(tls_ciphers="DEFAULT"): 1}[Settings(tls_ciphers="DEFAULT")] == 1
    assert hash(Settings(tls_ciphers="DEFAULT")) != hash(Settings())


def test_the_handshake_policy_is_made_of_its_four_options() -> None:
    settings = Settings(
        tls_allow_renegotiation=True,
        tls_renegotiation_action=RenegotiationAction.WARN,
        tls_renegotiation_limit=5,
        tls_key_update_limit=7,
    )
    assert settings.handshake_policy == HandshakePolicy(
        allow_renegotiation=True,
        renegotiation_action=RenegotiationAction.WARN,
        renegotiation_limit=5,
        key_update_limit=7,
    )
    assert Settings().handshake_policy == HandshakePolicy()
