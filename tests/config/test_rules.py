"""Rules over more than one option."""

from tests.config.documents import BACKEND, LISTENER, PEER_OF_LISTEN, parsed
from tlsproxy.config.resolve import Resolver
from tlsproxy.config.rules import check_candidates, check_settings
from tlsproxy.fronts import KINDS

LISTEN = "stream_listener[0].listen[0]"


def complaints(top: str, in_listen: str, in_peer: str = "") -> list[str]:
    """What is wrong with any resolution of a listen, each once."""
    configuration = parsed(f"{top}\n{BACKEND}{LISTENER}{in_listen}\n{PEER_OF_LISTEN}{in_peer}")
    listener = configuration.listeners[0]
    resolver = Resolver(configuration, listener, listener.listens[0])
    kind = KINDS[listener.kind]
    found = [str(problem) for each in resolver.resolutions() for problem in check_settings(each, kind)]
    return list(dict.fromkeys(found))


def test_a_certificate_in_any_scope_is_enough() -> None:
    assert complaints('tls_certificate = "a"', "") == []
    assert complaints("", 'tls_certificate = "a"') == []


def test_a_listen_without_a_certificate_is_told_once_and_at_the_listen() -> None:
    assert complaints("", "") == [
        f"{LISTEN}.tls_certificate: no certificate is in force here: name a PEM file, here or in a wider scope"
    ]


def test_a_certificate_for_some_peers_leaves_the_others_without() -> None:
    (complaint,) = complaints("", "", 'tls_certificate = "a"')
    assert complaint.startswith(f"{LISTEN}.tls_certificate: ")


def test_a_certificate_taken_away_is_told_where_it_was() -> None:
    (complaint,) = complaints('tls_certificate = "a"', "", "tls_certificate = []")
    assert complaint.startswith(f"{LISTEN}.peer[0].tls_certificate: no certificate is in force")


def test_keys_are_as_many_as_certificates_or_none() -> None:
    assert complaints('tls_certificate = ["a", "b"]', 'tls_key = ["c", "d"]') == []
    assert complaints('tls_certificate = ["a", "b"]', "tls_key = []") == []
    assert complaints('tls_certificate = ["a", "b"]\ntls_key = "c"', "") == [
        "tls_key: must name as many files as tls_certificate, 2, not 1; or none, if each key is in its certificate's file"
    ]


def test_keys_inherited_for_other_certificates_are_told_with_the_scope_of_those() -> None:
    (complaint,) = complaints('tls_certificate = "a"\ntls_key = "b"', 'tls_certificate = ["c", "d"]')
    assert complaint.startswith("tls_key: must name as many files as tls_certificate, 2, not 1")
    assert complaint.endswith(f"(tls_certificate is set by {LISTEN}.tls_certificate)")


def test_client_certificates_need_an_authority() -> None:
    for mode in ("optional", "require"):
        (complaint,) = complaints('tls_certificate = "a"', f'tls_verify_mode = "{mode}"')
        assert complaint.startswith(
            f'{LISTEN}.tls_verify_mode: "{mode}" needs tls_client_ca, the PEM file with '
        )
        assert complaints('tls_certificate = "a"\ntls_client_ca = "ca"', f'tls_verify_mode = "{mode}"') == []
    assert complaints('tls_certificate = "a"', 'tls_verify_mode = "none"') == []


def test_every_broken_rule_is_told() -> None:
    assert len(complaints("", 'tls_verify_mode = "require"')) == 2


def warnings(top: str, in_listen: str = "", in_peer: str = "") -> list[str]:
    """Candidates that can't refuse anybody."""
    configuration = parsed(f"{top}\n{BACKEND}{LISTENER}{in_listen}\n{PEER_OF_LISTEN}{in_peer}")
    listener = configuration.listeners[0]
    resolver = Resolver(configuration, listener, listener.listens[0])
    pairs = ((each, KINDS[listener.kind]) for each in resolver.resolutions())
    return [str(problem) for problem in check_candidates(pairs)]


def test_a_candidate_that_is_stricter_is_fine() -> None:
    assert warnings('tls_protocols = ">=TLSv1"\ntls_protocols_report = ">=TLSv1.2"') == []
    assert warnings("") == []


def test_a_candidate_that_is_not_stricter_has_nothing_to_report() -> None:
    (warning,) = warnings('tls_protocols_report = ">=TLSv1.2"')
    assert warning.startswith(
        "tls_protocols_report: TLSv1.2 TLSv1.3 isn't stricter than tls_protocols, TLSv1.2 TLSv1.3: "
    )


def test_it_is_enough_that_it_is_stricter_somewhere() -> None:
    assert warnings('tls_protocols_report = ">=TLSv1.2"', in_peer='tls_protocols = ">=TLSv1"') == []
    assert warnings('tls_protocols_report = ">=TLSv1.2"', in_listen='tls_protocols = ">=TLSv1"') == []


def test_each_scope_s_candidate_is_looked_at_by_itself() -> None:
    (warning,) = warnings(
        'tls_protocols = ">=TLSv1"\ntls_protocols_report = ">=TLSv1.2"',
        in_peer='tls_protocols = ">=TLSv1.2"\ntls_protocols_report = ">=TLSv1.1"',
    )
    assert warning.startswith(f"{LISTEN}.peer[0].tls_protocols_report: ")


def test_a_scope_may_take_a_candidate_back() -> None:
    assert (
        warnings('tls_protocols = ">=TLSv1"\ntls_protocols_report = ">=TLSv1.2"', 'tls_protocols_report = ""')
        == []
    )
