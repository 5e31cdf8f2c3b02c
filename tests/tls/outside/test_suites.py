"""Cipher suites have names and faults."""

import pytest
from OpenSSL import SSL

from tlsproxy.tls.ciphers import SECURITY_LEVEL_0
from tlsproxy.tls.outside.suites import OLD_SUITES, TLS13_SUITES, Weakness, weakness


@pytest.mark.parametrize(
    ("name", "worst"),
    [
        ("TLS_AES_128_GCM_SHA256", None),
        ("ECDHE-RSA-AES128-GCM-SHA256", None),
        ("DHE-RSA-AES256-SHA", None),
        ("AES128-SHA", Weakness.NO_FORWARD_SECRECY),
        ("DES-CBC3-SHA", Weakness.SMALL_BLOCKS),
        ("ECDHE-RSA-DES-CBC3-SHA", Weakness.SMALL_BLOCKS),
        ("DES-CBC-SHA", Weakness.DES),
        ("EXP-DES-CBC-SHA", Weakness.EXPORT),
        ("EXP-ADH-RC4-MD5", Weakness.EXPORT),
        ("ECDHE-RSA-RC4-SHA", Weakness.RC4),
        ("ADH-AES256-GCM-SHA384", Weakness.NO_AUTHENTICATION),
        ("AECDH-AES128-SHA", Weakness.NO_AUTHENTICATION),
        ("AECDH-NULL-SHA", Weakness.NO_ENCRYPTION),
        ("NULL-SHA256", Weakness.NO_ENCRYPTION),
    ],
)
def test_of_several_faults_the_worst_is_told(name: str, worst: Weakness | None) -> None:
    assert weakness(name) is worst


def test_no_suite_stands_twice() -> None:
    suites = {**OLD_SUITES, **TLS13_SUITES}
    assert len(set(suites.values())) == len(suites) == len(OLD_SUITES) + len(TLS13_SUITES)


def test_every_suite_of_the_library_is_tried() -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(f"ALL:COMPLEMENTOFALL:!PSK:!SRP:!aDSS:{SECURITY_LEVEL_0}".encode())
    known = {*OLD_SUITES.values(), *TLS13_SUITES.values()}
    assert set(SSL.Connection(context).get_cipher_list()) <= known
